#!/usr/bin/env bash
# Checks configurations of the safety protocol's model.
#   run.sh [RESULTS]       all of configurations.txt; the outcome goes to RESULTS (results.txt) too.
#                          Fails when one of the protocol has an error, or a mutant has none.
#   run.sh one NAME FLAGS  one configuration
# Needs spin and gcc (Debian: spin). TO = seconds for each configuration, MEM = MiB.
set -u
here=$(cd "$(dirname "$0")" && pwd)
one() {
  name=$1; shift
  dir=$(mktemp -d) || return 1
  cp "$here/safety.pml" "$dir/m.pml"; cd "$dir" || return 1
  if ! { spin -a "$@" m.pml >spin.out 2>&1 && gcc -O2 -w -DSAFETY -DNOCLAIM -DCOLLAPSE -DVECTORSZ=2048 -DMEMLIM="${MEM:-7000}" -o pan pan.c 2>>spin.out; }; then
    outcome="NOT BUILT: $(tail -n 1 spin.out | cut -c1-100)"
  else
    timeout "${TO:-60}" ./pan -m200000 -w24 -n -E >pan.out 2>&1; rc=$?
    states=$(awk '/states, stored/ {print $1; exit}' pan.out); errors=$(grep -oE 'errors: [0-9]+' pan.out | head -n 1)
    outcome="$errors"
    [ $rc -eq 124 ] && outcome="time limit, none until then"
    [ $rc -ne 124 ] && [ $rc -ne 0 ] && outcome="NOT RUN: exit code $rc"
    grep -q 'max search depth too small' pan.out && outcome="depth limit, ${errors}"
    grep -q 'reached -DMEMLIM' pan.out && [ "$errors" = "errors: 0" ] && outcome="memory limit, none until then"
  fi
  case "$name:$outcome" in
    m_*:"errors: 0" | m_*:*limit* | *NOT*) verdict=FAILED ;;
    m_*) verdict=killed ;;
    *:"errors: 0") verdict=complete ;;
    *limit*) verdict=partial ;;
    *) verdict=FAILED ;;
  esac
  echo "$name | $* | states ${states:-?} | $outcome | $verdict"
  cd "$here" && rm -rf "$dir"
  [ $verdict != FAILED ]
}
if [ "${1:-}" = one ]; then shift; one "$@"; exit; fi
results=${1:-$here/results.txt}
grep -vE '^(#|$)' "$here/configurations.txt" | while read -r name flags; do
  # shellcheck disable=SC2086
  ( one "$name" $flags )
done | tee "$results.new" && mv "$results.new" "$results"
! grep -q '| FAILED$' "$results"
