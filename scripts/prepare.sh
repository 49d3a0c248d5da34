#!/usr/bin/env bash
# Checks everything that the tests need. `make test` begins with this.
#
# If all is there, prints nothing. If something is missing, installs it as root on a Debian machine, by
# `.ci/run prepare`; otherwise prints what is missing and the command that installs it, exit 69.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=$(.ci/run check) && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  printf 'test: missing, and installed now:\n'
  printf '  %s\n' "${missing//$'\n'/$'\n'  }"
  exec .ci/run prepare
fi
{
  printf 'test: missing:\n'
  printf '  %s\n' "${missing//$'\n'/$'\n'  }"
  printf 'On Debian and its descendants this installs all of it: sudo .ci/run prepare\n'
  printf 'Steps that need less run without it, for instance: scripts/test.sh fmt clippy doc\n'
} >&2
exit 69
