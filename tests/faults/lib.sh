# shellcheck shell=bash
# What the fault tests share, beside tests/lib.sh. FAULTS_ALL=1 tries each place; without it a part is
# tried, the same each time; with FAULTS_SHARE=N an Nth of that.
. "$top_srcdir/tests/lib.sh"

faults=$top_builddir/tests/faults
all=${FAULTS_ALL:-}
share=${FAULTS_SHARE:-1}
unset HEADGATE_CRASH HEADGATE_CRASH_DONE HEADGATE_CRASH_LIST

# A program that is started again each time it dies by SIGKILL; its pid is in $dir/NAME.pid.
keep() { # keep NAME COMMAND...
  name=$1
  shift
  (
    trap - EXIT INT TERM HUP
    while :; do
      "$@" 2>>"$dir/$name.log" &
      echo $! >"$dir/$name.pid"
      wait $! 2>/dev/null
      status=$?
      [ $status -eq 137 ] && [ ! -e "$dir/$name.stop" ] && continue
      echo $status >"$dir/$name.ended" # it is looked for: whole or not at all
      mv "$dir/$name.ended" "$dir/$name.status"
      exit
    done
  ) &
}

ended() { [ -e "$dir/$1.status" ]; }

# It may have died and be made anew just now: then the number is of the one before, or of what will be it.
signalled() { # signalled SIGNAL NAME: it is asked once by each number that it has, until it has ended
  ended "$2" && return
  pid=$(cat "$dir/$2.pid")
  [ "$pid" != "$told" ] && programs | grep -qx "$pid" && kill -"$1" "$pid" && told=$pid
  return 1
}

end() { # end SIGNAL NAME...: of what keep() started
  signal=$1
  shift
  for name; do
    [ -e "$dir/$name.pid" ] && : >"$dir/$name.stop" # else it was not started
  done
  for name; do
    [ -e "$dir/$name.pid" ] || continue
    told=
    wait_for 20 signalled "$signal" "$name" || return 1
  done
}

clear_all() { # for the next try
  rm -rf "${dir:?}/state" "$dir/run" "$dir"/*.log "$dir"/*.pid "$dir"/*.stop "$dir"/*.status "$dir"/done* \
    "$dir"/receipts* "$dir"/applied "$dir"/publish.err
}

drained() { "$top_builddir/headgatectl" wait --empty -t 2 >/dev/null 2>&1; }

all_durable() { # all_durable FILE COUNT: so many receipts, all of them good
  [ "$(grep -c '"status":200,' "$1")" = "$2" ]
}
all_duplicates() { [ "$(grep -c '"status":200,"duplicate":true' "$1")" = "$2" ]; }
