#!/usr/bin/env bash
# Checks configurations of the safety protocol's model.
#   run.sh [RESULTS]       all of configurations.txt; the outcome goes to RESULTS (results.txt) too, from
#                          which the safety report takes it. Fails when one of the protocol has an error, or a
#                          mutant has none.
#   run.sh one NAME FLAGS  one configuration
# Needs spin and gcc (Debian: spin). TO = seconds of processor time for each, MEM = MiB.
set -u
here=$(cd "$(dirname "$0")" && pwd)

# Runs pan, and ends it after TO seconds of processor time so that it still says how far it came.
search() {
  ./pan -m200000 -w24 -n -E >pan.out 2>&1 &
  local pid=$! ticks limit=$((${TO:-60} * $(getconf CLK_TCK)))
  while ticks=$(awk '{print $14 + $15}' "/proc/$pid/stat" 2>/dev/null) && [ -n "$ticks" ]; do
    [ "$ticks" -gt "$limit" ] && kill -INT "$pid" 2>/dev/null && limited=yes
    sleep 0.2
  done
  wait "$pid"
}

one() {
  name=$1; shift
  dir=$(mktemp -d) || return 1
  cp "$here/safety.pml" "$dir/m.pml"; cd "$dir" || return 1
  limited=; states=; errors=
  if ! { spin -a "$@" m.pml >spin.out 2>&1 && gcc -O2 -w -DSAFETY -DNOCLAIM -DCOLLAPSE -DVECTORSZ=2048 -DMEMLIM="${MEM:-7000}" -o pan pan.c 2>>spin.out; }; then
    outcome="NOT BUILT: $(tail -n 1 spin.out | cut -c1-100)"
  else
    search
    states=$(awk '/states, stored/ {print $1; exit}' pan.out); errors=$(grep -oE 'errors: [0-9]+' pan.out | head -n 1)
    outcome=${errors:-NOT RUN}
    grep -q 'max search depth too small' pan.out && limited="depth"
    grep -q 'reached -DMEMLIM' pan.out && limited="memory"
    [ -n "$limited" ] && [ "$errors" = "errors: 0" ] && outcome="${limited/yes/time} limit, none until then"
  fi
  case "$name:$outcome" in
    *NOT*) verdict=FAILED ;;
    m_*:"errors: 0" | m_*:*limit*) verdict=FAILED ;;
    m_*) verdict=killed ;;
    x_*:"errors: 0") verdict="survives alone" ;;
    *:"errors: 0") verdict=complete ;;
    *limit*) verdict=partial ;;
    *) verdict=FAILED ;;
  esac
  echo "$name | $* | states ${states:-?} | $outcome | $verdict"
  cd "$here" && rm -rf "$dir"
  [ "$verdict" != FAILED ]
}

if [ "${1:-}" = one ]; then shift; one "$@"; exit; fi
results=${1:-$here/results.txt}
grep -vE '^(#|$)' "$here/configurations.txt" | while read -r name flags; do
  # shellcheck disable=SC2086
  ( one "$name" $flags )
done | tee "$results.new" && mv "$results.new" "$results"
! grep -q '| FAILED$' "$results"
