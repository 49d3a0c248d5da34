#!/usr/bin/env bash
# Sourced by crash.sh and power-cuts.sh: long runs in legs, each with its own result, seed and line in a file.
#
# A line of the file, which tests/crash_process/leg.rs writes: what, seed, rounds, mails answered 250, copies that arrived, mails
# in doubt, of these arrived, mails cut before their end, duplicated copies, errors, seconds.

# crash_program: compiles the suite for release, and names it. What is edited while it runs does not touch it; a build for release does.
crash_program() {
  cargo test --locked --release --no-run --test crash_process 2>&1 | tee /dev/stderr | sed -n 's|^ *Executable .*(\(.*\))$|\1|p'
}

# done_in FILE WHAT: rounds that are in the file.
done_in() { awk -F'\t' -v what="$2" '$1 == what { rounds += $3 } END { print rounds + 0 }' "$1"; }

# run_legs FILE WHAT ROUNDS LEG COMMAND...: so many rounds in legs of LEG; the command reads POSTERN_CRASH_SEED, _ROUNDS and _RESULTS.
# Rounds that the file has already are not made again. 1 when a leg failed; the others are run all the same.
run_legs() {
  local file=$1 what=$2 rounds=$3 leg=$4 failed=0 had now
  shift 4
  touch "$file"
  had=$(done_in "$file" "$what")
  while [ "$had" -lt "$rounds" ]; do
    now=$((rounds - had < leg ? rounds - had : leg))
    POSTERN_CRASH_SEED=$((SRANDOM)) && export POSTERN_CRASH_SEED
    printf '\n==> %s: %d of %d done; the next %d with seed %s (%s)\n' "$what" "$had" "$rounds" "$now" "$POSTERN_CRASH_SEED" "$(date '+%F %T')"
    if ! POSTERN_CRASH_ROUNDS=$now POSTERN_CRASH_RESULTS=$file "$@"; then
      failed=1
      echo "error: this leg failed: POSTERN_CRASH_SEED=$POSTERN_CRASH_SEED POSTERN_CRASH_ROUNDS=$now $*" >&2
    fi
    had=$((had + now))
  done
  return $failed
}

# sum_of FILE: a table of the file's sums.
sum_of() {
  awk -F'\t' '
    { legs[$1]++; for (i = 3; i <= NF; i++) sum[$1, i] += $i }
    END {
      split("- - rounds answered_250 copies_arrived in_doubt of_these_arrived cut_before_end came_again COMPLAINTS seconds", name, " ")
      for (what in legs) {
        printf "\n%s, %d legs\n", what, legs[what]
        for (i = 3; i <= 11; i++) printf "  %-20s %10d\n", name[i], sum[what, i]
      }
    }' "$1"
}

# file_of RUN RESUME: the file of the results, begun anew unless RESUME is yes.
file_of() {
  local dir=${CARGO_TARGET_DIR:-target}/crash
  mkdir -p "$dir"
  [ "$2" = yes ] || [ ! -e "$dir/$1.tsv" ] || mv "$dir/$1.tsv" "$dir/$1.$(date +%s).tsv"
  (cd "$dir" && echo "$PWD/$1.tsv")
}
