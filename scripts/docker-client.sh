#!/usr/bin/env bash
# Prints the docker client to use; prints an error when there is none or no engine answers.
#
#   docker=$(scripts/docker-client.sh) || exit
#
# Why not simply `docker` from the PATH: the Dockerfile needs BuildKit. Clients of Docker 23 and
# later reach it only through the buildx plug-in, and a bare newer client without that plug-in may
# shadow the packaged one, which can build. So the first client that can build wins.
# Set DOCKER to choose by hand.
set -euo pipefail

can_build() {
  local client=$1 major
  major=$("$client" version --format '{{.Client.Version}}' 2>/dev/null | cut -d. -f1) || true
  case $major in
    '' | *[!0-9]*) return 1 ;;
  esac
  # 18.09 to 22: BuildKit is asked for with DOCKER_BUILDKIT=1. From 23 on: the plug-in.
  [ "$major" -lt 23 ] || "$client" buildx version >/dev/null 2>&1
}

if [ -n "${DOCKER:-}" ]; then
  candidates=("$DOCKER")
else
  mapfile -t candidates < <(type -ap docker | awk '!seen[$0]++')
fi
if [ ${#candidates[@]} -eq 0 ]; then
  echo "docker-client: error: no docker client found. Debian: apt-get install docker.io docker-compose" >&2
  exit 69
fi
for client in "${candidates[@]}"; do
  command -v "$client" >/dev/null 2>&1 || continue
  if can_build "$client"; then
    if ! reason=$("$client" version --format '{{.Server.Version}}' 2>&1); then
      echo "docker-client: error: the Docker engine does not answer: $reason" >&2
      exit 69
    fi
    echo "$client"
    exit 0
  fi
done
echo "docker-client: error: none of ${candidates[*]} can build with BuildKit (install the buildx plug-in)" >&2
exit 69
