#!/usr/bin/env bash
# Stress for hours: difficult next hops, orders, imports and viewers on eight threads, then on 64 simulated
# processors, in turn, until the time is over or something fails.
#
#   scripts/stress.sh 2h        s, m and h; root, because next hops are on port 25
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
  *[0-9]h) total=$(( ${1%h} * 3600 )) ;;
  *[0-9]m) total=$(( ${1%m} * 60 )) ;;
  *[0-9]s) total=${1%s} ;;
  *) sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
esac

# A run of ten minutes at most: processes that a run leaves must end, too.
end=$((SECONDS + total)) runs=0
while [ "$SECONDS" -lt "$end" ]; do
  left=$((end - SECONDS)) each=$(( (end - SECONDS) / 2 + 1 ))
  [ "$each" -le 600 ] || each=600
  POSTERN_STRESS_SECONDS=$each cargo test --locked --test stress -- --nocapture --test-threads=1
  runs=$((runs + 1))
  echo "run $runs passed; $left seconds were left at its start"
done
