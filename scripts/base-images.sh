#!/usr/bin/env bash
# Provides the two base images of the Dockerfiles in the engine:
#
#   debian:bookworm-slim    the base of all images
#   rust:1.95-bookworm      the build image of the relay
#
# On most machines `docker build` pulls them by itself and this script has nothing to do. Where no
# image registry can be reached (a closed network, a build host), it makes stand-ins under the same
# names, from the machine's own Debian mirror and its own Rust toolchain, so that the Dockerfiles
# are built unchanged.
#
#   scripts/base-images.sh [--debian-only]
#
# POSTERN_NO_PULL=1    do not even try to pull
# DEBIAN_MIRROR=URL    take Debian from here; otherwise from apt's own configuration
# Root is needed to make the Debian image (debootstrap), not to find or pull one.
set -euo pipefail

DEBIAN_IMAGE=debian:bookworm-slim
RUST_IMAGE=rust:1.95-bookworm
RUST_VERSION=1.95
SUITE=bookworm
PULL_SECONDS=90
# The error of a client that cannot reach a registry comes within seconds; only a pull that
# has begun to move may take the whole time above.
REACH_SECONDS=10

export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
here=$(cd "$(dirname "$0")" && pwd)

say() { printf 'base-images: %s\n' "$*"; }
die() { printf 'base-images: error: %s\n' "$1" >&2; exit "${2:-69}"; }

docker=$("$here/docker-client.sh") || exit

work=
container=
cleanup() {
  [ -z "$container" ] || "$docker" rm -f "$container" >/dev/null 2>&1 || true
  [ -z "$work" ] || rm -rf --one-file-system "$work"
}
trap cleanup EXIT

have() { "$docker" image inspect "$1" >/dev/null 2>&1; }

pull() {
  [ "${POSTERN_NO_PULL:-}" != 1 ] || return 1
  # `manifest inspect` is a small request to the registry: it distinguishes a dead network from a slow one.
  timeout "$REACH_SECONDS" "$docker" manifest inspect "$1" >/dev/null 2>&1 || return 1
  say "pulling $1"
  timeout "$PULL_SECONDS" "$docker" pull -q "$1"
}

# The mirror of plain Debian that this machine uses itself, from apt's parsed configuration (both
# the one-line and the deb822 form of sources, and whatever file they are in).
debian_mirror() {
  if [ -n "${DEBIAN_MIRROR:-}" ]; then
    printf '%s\n' "$DEBIAN_MIRROR"
    return
  fi
  # shellcheck disable=SC2016 # $(NAME) is apt's own syntax
  apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    awk -v suite="$SUITE" '
      $1 == "Debian" && $2 == suite { print $3; exact = 1; exit }
      $1 == "Debian" && other == "" && $2 !~ /-/ { other = $3 }
      END { if (!exact && other != "") print other }'
}

make_debian() {
  [ "$(id -u)" = 0 ] || die "no registry can be reached; making $DEBIAN_IMAGE needs root" 77
  command -v debootstrap >/dev/null || die "no registry can be reached; making $DEBIAN_IMAGE needs debootstrap (apt-get install debootstrap)"
  local mirror
  mirror=$(debian_mirror)
  [ -n "$mirror" ] || die "apt here knows no Debian mirror; set DEBIAN_MIRROR=URL (if apt's lists are empty, run apt-get update first)"
  say "making $DEBIAN_IMAGE with debootstrap (about a minute)"
  work=$(mktemp -d "${TMPDIR:-/var/tmp}/postern-base.XXXXXX")
  if ! debootstrap --variant=minbase "$SUITE" "$work/root" "$mirror" >"$work/log" 2>&1; then
    tail -n 20 "$work/log" >&2
    die "debootstrap failed (its last lines are above)"
  fi
  # As in the official slim image: no manuals, no package archives, no start of daemons, and no
  # recommended packages dragged in by an `apt-get install` inside a build.
  rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/* \
    "$work"/root/usr/share/doc/* "$work"/root/usr/share/man/* "$work"/root/usr/share/locale/* \
    "$work"/root/var/log/*.log "$work"/root/var/log/apt
  # debootstrap copies the machine's own; the engine gives each container its own instead.
  rm -f "$work/root/etc/hostname" "$work/root/etc/resolv.conf"
  printf 'path-exclude /usr/share/doc/*\npath-exclude /usr/share/man/*\npath-exclude /usr/share/locale/*\n' \
    >"$work/root/etc/dpkg/dpkg.cfg.d/docker"
  printf '#!/bin/sh\nexit 101\n' >"$work/root/usr/sbin/policy-rc.d"
  chmod 755 "$work/root/usr/sbin/policy-rc.d"
  tar -C "$work/root" --numeric-owner -c . |
    "$docker" import -c 'CMD ["bash"]' -m 'debootstrap minbase' - "$DEBIAN_IMAGE" >/dev/null
  rm -rf --one-file-system "$work"
  work=
}

make_rust() {
  local sysroot version certificates=/etc/ssl/certs/ca-certificates.crt
  command -v rustc >/dev/null || die "no registry can be reached; making $RUST_IMAGE needs Rust $RUST_VERSION on this machine"
  version=$(rustc --version | cut -d' ' -f2)
  case $version in
    "$RUST_VERSION".*) ;;
    *) die "no registry can be reached; making $RUST_IMAGE needs Rust $RUST_VERSION on this machine, found $version" ;;
  esac
  sysroot=$(rustc --print sysroot)
  say "making $RUST_IMAGE from $DEBIAN_IMAGE and this machine's Rust $version (about a minute)"
  container=$("$docker" run -d --entrypoint sleep "$DEBIAN_IMAGE" 1800)
  "$docker" exec -e DEBIAN_FRONTEND=noninteractive "$container" sh -ec '
    apt-get -q update
    apt-get -q -y install --no-install-recommends gcc g++ libc6-dev make cmake pkg-config ca-certificates
    rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
  ' >/dev/null
  # The toolchain without its manuals, its sources and its editors' helpers: half the size.
  tar -C "$sysroot" -c --exclude=./share/doc --exclude=./lib/rustlib/src --exclude='./bin/rust-analyzer' \
    --exclude='./bin/*miri*' --exclude='./lib/rustlib/*/lib/*.so.dbg' . |
    "$docker" exec -i "$container" tar -C /usr/local --no-same-owner -x
  # The machine may be behind a proxy with a private certificate authority.
  if [ -r "$certificates" ]; then
    "$docker" cp -L "$certificates" "$container:$certificates" >/dev/null
  fi
  "$docker" exec "$container" sh -ec 'rustc --version && cargo --version' >/dev/null ||
    die "the copied toolchain does not run in the container"
  "$docker" commit -c 'CMD ["bash"]' -c 'ENTRYPOINT []' -c 'ENV CARGO_HOME=/usr/local/cargo' \
    -c 'ENV PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    "$container" "$RUST_IMAGE" >/dev/null
  "$docker" rm -f "$container" >/dev/null
  container=
}

provide() {
  local image=$1 maker=$2 start=$SECONDS
  if have "$image"; then
    say "$image is here"
  elif pull "$image"; then
    say "$image pulled in $((SECONDS - start)) s"
  else
    "$maker"
    say "$image made in $((SECONDS - start)) s"
  fi
}

provide "$DEBIAN_IMAGE" make_debian
[ "${1:-}" = --debian-only ] || provide "$RUST_IMAGE" make_rust
