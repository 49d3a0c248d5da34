#!/usr/bin/env bash
# All tests, one after the other, and one summary at the end: what `make test` runs.
#
#   scripts/test.sh [STEP...]      steps: scripts rules fmt clippy fuzz deny suites threads doc (default: all)
#
# Every step runs even when an earlier one failed, so that one run reports everything. Nothing is left
# out silently: a tool that is missing is a failed step, and tests marked `ignore` are listed by name.
# Exit: 0 when every step passed, 1 otherwise.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
# shellcheck source=scripts/toolchain.sh
. scripts/toolchain.sh
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-auto}"

need() { # program, where to get it
  command -v "$1" >/dev/null 2>&1 || { echo "error: $1 is missing ($2). .ci/run installs everything." >&2; return 1; }
}

step_scripts() {
  local files=() file
  need shellcheck "apt-get install shellcheck" || return
  while IFS= read -r file; do
    if [ -f "$file" ] && head -c 64 "$file" | head -n 1 | grep -aqE '^#!.*\b(ba)?sh\b'; then files+=("$file"); fi
  done < <(git ls-files)
  shellcheck "${files[@]}" && echo "${#files[@]} scripts"
}
step_rules() {
  need promtool "apt-get install prometheus" || return
  (cd appliance/monitor && promtool check rules rules.yml && promtool test rules rules_test.yml)
}
step_fmt() { cargo fmt --all --check; }
step_clippy() { cargo clippy --locked --all-targets -- -D warnings; }
# Whether the fuzz targets still fit the code; running them is for a release.
step_fuzz() {
  cargo check --locked --manifest-path fuzz/Cargo.toml --bins --target-dir "${CARGO_TARGET_DIR:-target}"
}
step_deny() {
  need cargo-deny "cargo install --locked cargo-deny" || return
  cargo deny --locked check --hide-inclusion-graph bans licenses sources
}
# All suites, or those that a profile of .config/nextest.toml chooses, with relays of so many threads for mail.
nextest() { # profile, threads
  local docker=
  # The container tests call the client by this name. That there is no engine is for them to say.
  if docker=$(scripts/docker-client.sh 2>/dev/null); then export DOCKER="$docker"; fi
  need cargo-nextest "cargo install --locked cargo-nextest" || return
  rm -f "$(report "$1")"
  POSTERN_TEST_WORKER_THREADS=$2 cargo nextest run --locked --all-targets --profile "$1"
}
report() { echo "${CARGO_TARGET_DIR:-target}/nextest/$1/junit.xml"; } # profile
step_suites() { nextest default 1; }
# What moves mail, once more.
step_threads() { nextest threads 8; }
# nextest leaves the examples in the documentation to cargo.
step_doc() { cargo test --locked --doc --quiet; }

suites_table() { # title, profile
  local report
  report=$(report "$2")
  [ -f "$report" ] || return 0
  python3 - "$report" "$1" <<'PY'
import sys
import xml.etree.ElementTree as xml

print(f"  {sys.argv[2]:<28}{'tests':>6}{'failed':>8}{'seconds':>9}")
total = [0, 0]
for suite in sorted(xml.parse(sys.argv[1]).getroot().iter("testsuite"), key=lambda s: s.get("name")):
    cases = list(suite.iter("testcase"))
    failed = sum(1 for c in cases if c.find("failure") is not None or c.find("error") is not None)
    seconds = sum(float(c.get("time", 0)) for c in cases)
    print(f"  {suite.get('name'):<28}{len(cases):>6}{failed:>8}{seconds:>9.1f}")
    total = [total[0] + len(cases), total[1] + failed]
print(f"  {'in all':<28}{total[0]:>6}{total[1]:>8}")
PY
}

steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=(scripts rules fmt clippy fuzz deny suites threads doc)
for step in "${steps[@]}"; do
  declare -F "step_$step" >/dev/null || { echo "no step named $step" >&2; exit 64; }
done

names=() results=() times=() failed=0
for step in "${steps[@]}"; do
  printf '\n==> %s\n' "$step"
  start=$SECONDS
  if "step_$step"; then result=passed; else result=FAILED failed=1; fi
  names+=("$step") results+=("$result") times+=("$((SECONDS - start))")
done

printf '\n==> summary\n'
for i in "${!names[@]}"; do
  printf '  %-10s %-7s %5s s\n' "${names[$i]}" "${results[$i]}" "${times[$i]}"
done
case " ${steps[*]} " in *" suites "*) suites_table suite default ;; esac
case " ${steps[*]} " in *" threads "*) suites_table "suite, 8 threads for mail" threads ;; esac
if [ "$failed" -ne 0 ]; then echo "  FAILED: see above"; exit 1; fi
echo "  all passed"
