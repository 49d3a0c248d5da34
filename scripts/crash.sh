#!/usr/bin/env bash
# Kills the appliance again and again under load, fills its volume, and counts what arrives: what `make crash` runs.
#
#   scripts/crash.sh [--resume] [ROUNDS]      rounds of kill -9 (default: 50)
#
# The same code as the test suite `crash_process`, built for release, with more rounds: in legs of fifty, each on a fresh volume,
# with its own seed, and its own result in target/crash/kill.tsv. `--resume` continues where that file ends. Prints
# each round, and a table at the end. As root, because the small volumes are mounted.
# Exit: 0 when every mail that was answered 250 arrived.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=/dev/null
. scripts/legs.sh

LEG=50
resume=no
if [ "${1:-}" = --resume ]; then resume=yes && shift; fi
rounds=${1:-50}
case $rounds in
  '' | *[!0-9]* | 0) echo "usage: scripts/crash.sh [--resume] [ROUNDS]" >&2; exit 64 ;;
esac
[ "$(id -u)" = 0 ] || { echo "error: run me as root: a small volume is mounted and filled" >&2; exit 77; }

# One test after the other: each wants the machine for itself.
suite() { "$program" "$@" --nocapture --test-threads=1; }

program=$(crash_program)
results=$(file_of kill "$resume")
failed=0
run_legs "$results" process "$rounds" "$LEG" suite --exact kill::what_was_answered_250_survives_kill_9 || failed=1
printf '\n==> full volumes\n'
suite --skip survives_kill_9 --skip survives_power_cuts || failed=1
sum_of "$results"
exit $failed
