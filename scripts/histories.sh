#!/usr/bin/env bash
# Random histories of the queue on a disk with torn and lost writes, false success, errors and lack of space, compared with a model.
#
#   scripts/histories.sh 2h              for this time (s, m, h)
#   scripts/histories.sh 5000000         so many steps
#   scripts/histories.sh --seed N        one history again, with every call of the disk
#
# POSTERN_HISTORY_FROM=N begins with another seed than 0; POSTERN_HISTORY_WORKERS=N is how many run at once (default: 2).
# Prints progress, and at the end the counts of events. Exit: 0 when every guarantee was kept and every kind of fault occurred.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { echo "usage: scripts/histories.sh STEPS | N(s|m|h) | --seed N" >&2; exit 64; }
number() { case $1 in '' | *[!0-9]*) usage ;; esac; }

case ${1:-} in
  --seed) number "${2:-}"; export POSTERN_HISTORY_SEED=$2 POSTERN_CRASH_TRACE=1 ;;
  *s) number "${1%s}"; export POSTERN_HISTORY_SECONDS=${1%s} ;;
  *m) number "${1%m}"; export POSTERN_HISTORY_SECONDS=$((${1%m} * 60)) ;;
  *h) number "${1%h}"; export POSTERN_HISTORY_SECONDS=$((${1%h} * 3600)) ;;
  *) number "${1:-}"; export POSTERN_HISTORY_STEPS=$1 ;;
esac
exec cargo test --release --locked --test crash -- --exact long::a_queue_keeps_its_promises_on_a_disk_that_keeps_none --nocapture
