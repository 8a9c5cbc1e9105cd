# Sourced by the scripts beside it, which set model=FILE.pml: how a model is searched.
. "${top_srcdir:?}/tests/lib.sh"

if ! command -v spin >/dev/null; then
  echo "1..0 # SKIP spin is not installed: scripts/setup does it, or apt-get install spin"
  exit 0
fi
mkdir "$dir/model"
cp "$top_srcdir"/tests/model/*.pml "$dir/model" || exit 1

search() { # search OPTION DEFINE...: of $model; OPTION is the search's
  option=$1
  shift
  rm -f "$dir"/*.log "$dir"/model/pan*
  # Not optimised: most of the time goes into compiling.
  (cd "$dir/model" && spin -P'cc -E -x c' "$@" -a "$model" &&
    cc -O0 -DSAFETY -DMEMLIM=1024 -o pan pan.c) >"$dir/build.log" 2>&1 || return 1
  # In its directory: it leaves the steps that lead to an error there.
  (cd "$dir/model" && timeout -k 5 1000 ./pan -w20 "$option") >"$dir/search.log" 2>&1
  echo "# $*:$(sed -n 's/^pan:1:\(.*\)/\1,/p; s/^\( *[0-9]* states\), stored.*/\1/p' "$dir/search.log" | tr -s '\n ' ' ')"
}

holds() { # holds DEFINE...: all was searched, for both kinds of errors, and no step is never taken
  search -m10000 "$@" &&
    grep -q '^State-vector.* errors: 0$' "$dir/search.log" &&
    grep -q '^Full statespace search' "$dir/search.log" &&
    grep -q 'assertion violations[[:space:]]*+$' "$dir/search.log" &&
    grep -q 'invalid end states[[:space:]]*+$' "$dir/search.log" &&
    ! grep -q -i 'warning\|error:\|too small\|out of memory\|MEMLIM' "$dir/search.log" &&
    ! grep '\.pml:[0-9]*, state ' "$dir/search.log" | grep -q -v -e '"-end-"'
}

breaks() { # breaks DEFINE...: an assertion does not hold
  search -E "$@" && grep -q '^pan:1: assertion violated' "$dir/search.log"
}
