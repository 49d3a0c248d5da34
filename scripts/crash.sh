#!/usr/bin/env bash
# Kills the appliance again and again under load, fills its volume, and counts what arrives: what `make crash` runs.
#
#   scripts/crash.sh [ROUNDS]      rounds of kill -9 (default: 50)
#
# The same code as the test suite `crash_process`, with more rounds. Prints each round, then a table. As root, because the small
# volumes are mounted. Exit: 0 when every mail that was answered 250 arrived.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${1:-50}
case $rounds in
  '' | *[!0-9]* | 0) echo "usage: scripts/crash.sh [ROUNDS]" >&2; exit 64 ;;
esac
[ "$(id -u)" = 0 ] || { echo "error: run me as root: a small volume is mounted and filled" >&2; exit 77; }
export POSTERN_CRASH_ROUNDS=$rounds
# One after the other: each wants the machine for itself.
exec cargo test --locked --test crash_process -- --nocapture --test-threads=1
