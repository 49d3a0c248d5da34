#!/usr/bin/env bash
# Cuts the power of a virtual machine again and again under load, and counts what arrives.
#
#   scripts/power-cuts.sh [--resume] [CUTS [FILE SYSTEM...]]      for each of ext4, xfs, btrfs (default: 100 ext4)
#
# The same code as the test suite `crash_process`, built for release, with more cuts: in legs of ten, each on a new disk, with a seed
# of its own, and with its own result in target/crash/power.tsv. `--resume` continues where that file ends. A cut takes ten
# seconds or more. Prints each cut, and a table at the end. As root, to make the machine (scripts/machine.sh).
# Exit: 0 when every mail that was answered 250 arrived.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=/dev/null
. scripts/legs.sh

LEG=10
resume=no
if [ "${1:-}" = --resume ]; then resume=yes && shift; fi
cuts=${1:-100}
case $cuts in
  '' | *[!0-9]* | 0) echo "usage: scripts/power-cuts.sh [--resume] [CUTS [FILE SYSTEM...]]" >&2; exit 64 ;;
esac
kinds=("${@:2}")
[ ${#kinds[@]} -gt 0 ] || kinds=(ext4)

program=$(crash_program)
results=$(file_of power "$resume")
failed=0
for kind in "${kinds[@]}"; do
  export POSTERN_POWER_FS=$kind
  run_legs "$results" "power-$kind" "$cuts" "$LEG" "$program" --exact power::what_was_answered_250_survives_power_cuts \
    --nocapture --test-threads=1 || failed=1
done
sum_of "$results"
exit $failed
