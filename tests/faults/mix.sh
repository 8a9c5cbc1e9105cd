#!/bin/bash
# The programs that are installed, with the constants that are shipped: messages of 20 bytes to max_message_size in a
# random mix, random queues, groups, lanes and policies, a busy disk, router, workers and publishers that are killed
# with -9. Afterwards each log is whole, each message was stored or recorded as failed once, and order holds.
# MIX_ROUNDS or MIX_MINUTES, MIX_SEED (of the first round), MIX_BYTES (of input in a round, at most).
. "${top_srcdir:?}/tests/lib.sh"

rounds=${MIX_ROUNDS:-2}
minutes=${MIX_MINUTES:-0}
first_seed=${MIX_SEED:-$((($$ * 7919 + $(date +%s)) % 100000))}
bytes=${MIX_BYTES:-8000000}
base=$dir
echo "# MIX_SEED=$first_seed MIX_ROUNDS=$rounds MIX_MINUTES=$minutes MIX_BYTES=$bytes"

ctl() { "$top_builddir/headgatectl" -c "$HEADGATE_DIR/conf" "$@"; }
one_of() { # one_of WORD...: sets drawn
  drawn=("$@")
  drawn=${drawn[RANDOM % $#]}
}

draw_round() { # the configuration and what is published
  one_of 1 1 2 3 5 8 && queues=$drawn
  one_of 64K 256K 256K 1M && limit=$drawn
  most=$(($(numfmt --from=iec "$limit") - 200))
  one_of 0 0 1 2 3 4 && profile=$drawn
  one_of 1 3 100 100000 && groups=$drawn
  one_of 1 1 2 3 && publishers=$drawn
  case $profile in # about so many bytes a line
    0) line=40 ;;
    1) line=260 ;;
    2) line=$((most / 8)) ;;
    3) line=$((most * 3 / 4)) ;;
    4) line=$((most / 200 + 170)) ;;
  esac
  count=$((bytes / line / publishers + 1))
  one_of sync sync os && durability=$drawn
  one_of auto poll && io=$drawn
  one_of '' --paranoid && paranoid=$drawn
  {
    echo "max_message_size = $limit"
    echo "topic mix {"
    # A publisher that is killed begins its file again, however long a slow machine takes for it.
    echo "    group_by = {g} dedup_by = {content} dedup_window = 1d durability = $durability"
    echo "}"
    for ((q = 0; q < queues; q++)); do
      one_of 1 2 4 16 && lanes=$drawn
      one_of stop stop block-group retry && server_error=$drawn
      one_of dead-letter record && client_error=$drawn
      echo "queue q$q {"
      echo "    topic = mix"
      # The first one takes everything.
      [ $q -eq 0 ] || echo "    filter_policy = '{\"q\": [\"$q\"]}'"
      echo "    lanes = $lanes server_error = $server_error client_error = $client_error max_receive_count = 1000"
      echo "    retry_base = 10ms retry_max = 1000"
      echo "}"
    done
  } >"$HEADGATE_DIR/conf"
}

start_router() { start router headgate-router -c "$HEADGATE_DIR/conf" --io "$io" $paranoid; }
start_worker() { # start_worker N
  start "worker$1" tests/mix-worker "q$1" -c "$HEADGATE_DIR/conf"
  workers=$(tr ' ' '\n' <<<"$workers $1" | sort -u | xargs)
}
start_publisher() { start "publisher$1" headgate-publish -c "$HEADGATE_DIR/conf" --wait 60 "$HEADGATE_DIR/in.$1"; }
busy_disk() { # bounded: it ends with its file
  while [ -e "$HEADGATE_DIR/busy" ]; do
    dd if=/dev/zero of="$HEADGATE_DIR/busy.data" bs=64k count=64 oflag=direct,dsync 2>/dev/null || return
  done
}
pid_of() { eval "echo \${$1:-}"; }

# Publishers that ended otherwise than well are started again with the same file: what is there is a duplicate.
publish_on() { # false when all lines of all files are durable
  local left=1 pid
  for ((p = 0; p < publishers; p++)); do
    [ -z "${published[p]:-}" ] || continue
    left=0
    pid=$(pid_of "publisher$p")
    alive "$pid" && continue
    if wait "$pid" 2>/dev/null; then published[p]=1; else start_publisher $p; fi
  done
  return $left
}
disturb() { # no more kills than a round may have: after these all gets done
  local w pid
  one_of router router worker worker child publisher down open check none
  case $drawn in
    router | worker | child | publisher) [ $kills -lt $most_kills ] || return 0 ;;
  esac
  case $drawn in
    router)
      kill -KILL "$router"
      wait "$router" 2>/dev/null
      start_router
      kills=$((kills + 1))
      ;;
    worker)
      [ -n "$workers" ] || return 0
      one_of $workers && w=$drawn
      kill -KILL "$(pid_of "worker$w")"
      start_worker "$w"
      kills=$((kills + 1))
      ;;
    child)
      [ -n "$workers" ] || return 0
      one_of $workers && w=$drawn
      pid=$(pgrep -P "$(pid_of "worker$w")") && kill -KILL $pid && kills=$((kills + 1))
      ;;
    publisher)
      pid=$(pid_of "publisher$((RANDOM % publishers))")
      alive "$pid" && kill -KILL "$pid" && kills=$((kills + 1))
      ;;
    down) : >"$HEADGATE_DIR/down" ;;
    open)
      rm -f "$HEADGATE_DIR/down"
      ctl start --all -t 1 >/dev/null 2>&1
      ;;
    check) ctl status >/dev/null 2>&1 ;;
  esac
  return 0
}
published_sum() { ctl status --json 2>/dev/null | jq '[.queues[].published] | add'; }
went_on() { [ "$(published_sum)" != "$sum" ]; }

logs_are_whole() { ctl check >"$HEADGATE_DIR/check"; }
all_is_handled() {
  ctl start --all -t 1 >/dev/null 2>&1
  ctl wait --empty -t 2 >/dev/null 2>&1
}
expected() { # expected QUEUE: messages and the sum of their numbers
  cat "$HEADGATE_DIR"/in.* | sed -n 's/^{"g":"[^"]*","q":"\([0-9]*\)","n":\([0-9]*\).*/\1 \2/p' |
    awk -v q="$1" 'q == 0 || $1 == q { c++; s += $2 } END { printf "%d %d\n", c, s }'
}
rows() { # rows QUEUE: the same of the store
  sql "q$1" "SELECT count(*) || ' ' || ifnull(sum(n), 0) FROM (SELECT n FROM mix
    UNION ALL SELECT json_extract(body, '\$.n') FROM failures)"
}
out_of_order() {
  sql "q$1" 'SELECT count(*) FROM (SELECT n, lag(n) OVER (PARTITION BY g ORDER BY rowid) AS before FROM mix)
    WHERE before >= n'
}

round() { # round SEED
  local q p
  RANDOM=$1
  HEADGATE_DIR=$base/$1
  dir=$HEADGATE_DIR # what lib.sh's functions look at
  mkdir -p "$dir/tests" # for the logs
  published=() workers='' kills=0 queues=0
  draw_round
  echo "# seed $1: $queues queues, profile $profile to $limit, $groups groups, $publishers x $count lines," \
    "$durability, $io $paranoid"
  for ((p = 0; p < publishers; p++)); do
    "$top_builddir/tests/generate-mix" -s "$1$p" -n $count -m $most -p "$profile" -q "$queues" -g "$groups" \
      -f $((p * 100000000 + 1)) >"$dir/in.$p"
  done
  if [ $((RANDOM % 2)) -eq 0 ]; then
    : >"$dir/busy"
    busy_disk &
  fi
  start_router
  # Some queues are consumed from the start; the others pile up first.
  for ((q = 0; q < queues; q++)); do
    [ $((RANDOM % 2)) -eq 0 ] || start_worker $q
  done
  for ((p = 0; p < publishers; p++)); do
    start_publisher $p
  done
  one_of 1 3 10 1000 && calm=$drawn # turns between two disturbances
  one_of 5 20 80 && most_kills=$drawn
  while publish_on; do
    sum=$(published_sum)
    pace 1 went_on
    [ $((RANDOM % calm)) -ne 0 ] || disturb
  done
  rm -f "$dir/down" "$dir/busy"
  for ((q = 0; q < queues; q++)); do
    alive "$(pid_of "worker$q")" || start_worker $q
  done
  ok "seed $1: all is handled ($kills kills)" wait_for 300 all_is_handled
  for ((q = 0; q < queues; q++)); do
    is "seed $1: q$q: each message has one outcome" "$(expected $q)" "$(rows $q)"
    is "seed $1: q$q: order holds" 0 "$(out_of_order $q)"
  done
  for q in $workers; do stop "$(pid_of "worker$q")"; done
  stop "$router"
  ok "seed $1: the logs are whole" logs_are_whole
  ok "seed $1: no program found a fault of its own" [ -z "$(cat "$dir"/*.log "$dir"/*/*.log | grep 'log.overw\|log.would_over')" ]
  for ((q = 0; q < queues; q++)); do eval "worker$q="; done
  [ "$failed" -ne 0 ] || rm -rf "$dir"
}

finish=$(($(date +%s) + minutes * 60))
seed=$first_seed
while [ "$failed" -eq 0 ]; do
  round "$seed"
  seed=$((seed + 1))
  if [ "$minutes" -gt 0 ]; then
    [ "$(date +%s)" -lt $finish ] || break
  else
    [ $((seed - first_seed)) -lt "$rounds" ] || break
  fi
done
dir=$base
[ "$failed" -eq 0 ] || trap 'kill_all; echo "# kept: $base"' EXIT
done_testing
