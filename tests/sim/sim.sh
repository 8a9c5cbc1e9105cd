#!/bin/bash
# The router in a simulated machine (tests/sim/run): some seeds, with constants that they draw; one with those that are
# shipped (unless SIM_SHIPPED=0); the same seed twice is the same run; and bugs that are planted are found: unless
# SIM_BREAKS=0, and with SIM_BREAKS=all also those that few seeds find. SIM_SEED, SIM_SEEDS.
. "${top_srcdir:?}/tests/lib.sh"

run=$top_builddir/tests/sim/run
limit=2500 # seconds, for what hangs
seed=${SIM_SEED:-1}
seeds=${SIM_SEEDS:-30}
echo "# SIM_SEED=$seed SIM_SEEDS=$seeds"

holds() { # holds ARGUMENT...
  timeout -k 5 $limit "$run" "$@" >"$dir/sim.log" 2>&1
}

found() { # found BREAK: it ends with what must not be, by itself
  case $1 in # where it is known to be found, so that it does not take long; the others within a few from 1
    early-delivery) first=45 ;;
    no-reserve) first=2 ;;
    no-rewrite) first=43 ;;
    cut-alone) first=19 ;;
    *) first=1 ;;
  esac
  timeout -k 5 $limit "$run" --break "$1" --seed $first --seeds 400 >"$dir/sim.log" 2>&1
  [ $? -eq 1 ] && grep -q '^to see it' "$dir/sim.log"
}

ok "$seeds seeds from $seed" holds --seed "$seed" --seeds "$seeds"
[ "${SIM_SHIPPED:-1}" = 0 ] ||
  ok "with the constants that are shipped" holds --shipped --seed "$((seed + 20))"
"$run" --seed 7 --seeds 4 --hash 2>&1 | grep -v held >"$dir/once"
"$run" --seed 7 --seeds 4 --hash --trace 2>/dev/null | grep -v held >"$dir/again"
is "four runs are told apart" 4 "$(sort -u -k2 "$dir/once" | wc -l)"
is "a seed gives the same run each time" "$(cat "$dir/once")" "$(cat "$dir/again")"
: >"$dir/breaks"
[ "${SIM_BREAKS:-1}" = 0 ] || "$run" --break help >"$dir/breaks" 2>&1
while IFS=: read -r name what; do
  case $name in # few seeds find them
    rewrite) [ "${SIM_BREAKS:-1}" = all ] || continue ;;
  esac
  ok "found: $what" found "$name"
done <"$dir/breaks"
done_testing
