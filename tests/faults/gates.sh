#!/bin/bash
# Stop, start, a trip, skip-head and redrive in random order under load, while router, worker, publisher and
# headgatectl are killed with -9: each message is stored once, in order, or was redriven. GATES_SECONDS,
# GATES_SEED.
. "${top_srcdir:?}/tests/lib.sh"

seconds=${GATES_SECONDS:-8}
seed=${GATES_SEED:-$$}
RANDOM=$seed
chunk=200
queue=payment-processing
echo "# GATES_SEED=$seed GATES_SECONDS=$seconds"

ctl() { "$top_builddir/headgatectl" "$@"; }
depth_is() { [ "$(ctl status --json 2>/dev/null | jq ".queues[] | select(.name == \"$1\") | .depth")" = "$2" ]; }
field() { ctl status --json | jq -r ".queues[] | select(.name == \"$queue\") | $1"; }
restart_router() {
  kill -KILL "$router"
  wait "$router" 2>/dev/null
  start router headgate-router
}
worker_in() { # worker_in ENVIRONMENT: dev obeys the fault markers, prod does not
  environment=$1
  export HEADGATE_ENVIRONMENT=$1
  start worker headgate-payment
  unset HEADGATE_ENVIRONMENT
}
publish_next() { # the next chunk, or again the one that was not all durable
  alive "$publisher" && return
  if [ -n "$publisher" ]; then
    wait "$publisher"
    case $? in
      0) chunks=$((chunks + 1)) ;;
      69 | 75 | 137) again=$((again + 1)) ;;
      *) odd=$(tr ' ' '\n' <<<"$odd publish:$?" | sort -u | xargs) ;;
    esac
    publisher= # it is counted once
  fi
  [ $chunks -lt $until ] || return 0
  start publisher headgate-publish --wait 2 "$dir/chunk.$(printf '%05d' $chunks)"
}
note() { # note COMMAND STATUS: what headgatectl may end with: done, not now, no router, try again
  case $2 in
    0 | 65 | 69 | 75 | 137) ;;
    *) odd=$(tr ' ' '\n' <<<"$odd $1:$2" | sort -u | xargs) ;;
  esac
}
gate() { # gate ARGUMENT...
  timeout -k 10 200 "$top_builddir/headgatectl" "$@" >>"$dir/ctl.out" 2>>"$dir/ctl.err"
  note "$1" $?
}
redrive_next() {
  alive "$redrive" && return
  if [ -n "$redrive" ]; then
    wait "$redrive" 2>/dev/null
    note redrive $?
  fi
  start redrive headgatectl dead redrive --rate 500 $queue >>"$dir/ctl.out"
}

figures() { field '"\(.published) \(.done) \(.failed)"'; }
went_on() { # the load has, since the last turn; or it cannot
  ! alive "$publisher" || [ "$(figures)" != "$before" ]
}

turns=$((seconds * 20))
"$top_builddir/tests/generate" -n $((turns * chunk * 5 / 2)) -c 300 -s "$seed" | grep '"payment"' |
  sed 's/CUST-[0-9]*7"/&-ERROR400/; s/CUST-[0-9]*13"/&-ERROR500/; s/"\(-ERROR[0-9]*\)/\1"/' |
  head -n $((turns * chunk)) | split -l $chunk -d -a 5 - "$dir/chunk."
start router headgate-router
worker_in dev
wait_for 20 ready
until=$((turns - 1))
chunks=0 again=0 kills=0 odd= publisher= redrive= before=
finish=$(($(date +%s) + seconds)) # wait_for() has its own deadline
while [ "$(date +%s)" -lt $finish ] && [ $chunks -lt $until ]; do
  publish_next
  case $((RANDOM % 16)) in
    0) gate stop $queue ;;
    1) gate stop --drain -t 2 $queue ;;
    2 | 3) gate start --skip-head $queue ;;
    4) redrive_next ;;
    5) restart_router && kills=$((kills + 1)) ;;
    6) child=$(pgrep -P "$worker") && kill -KILL "$child" && kills=$((kills + 1)) ;;
    7) alive "$publisher" && kill -KILL "$publisher" && kills=$((kills + 1)) ;;
    8) alive "$redrive" && kill -KILL "$redrive" && kills=$((kills + 1)) ;;
    9)
      stop "$worker"
      if [ $environment = dev ]; then worker_in prod; else worker_in dev; fi
      ;;
    10) kill -KILL "$worker" && worker_in $environment && kills=$((kills + 1)) ;;
    *) gate start $queue ;;
  esac
  pace 1 went_on
  before=$(figures)
done
echo "# $chunks chunks, $again again, $kills kills, $(grep -c '"TRIPPED"' "$dir/headgate-router.log") trips"

# The cause is mended, all is opened, and what was dead-lettered is handled after all.
stop "$worker"
worker_in prod
if alive "$redrive"; then kill -KILL "$redrive"; fi
wait_for 20 ctl wait --ready -t 1
ctl start $queue >/dev/null 2>&1
until=$((chunks + 1))
at_last() { # the chunk that was begun is durable
  publish_next
  [ $chunks -eq $until ]
}
ok "the last lines are published" wait_for 60 at_last
is "no command ended otherwise than it should" "" "$odd"
ok "all is handled" ctl wait --empty -t 120 $queue
redriven() { ctl dead redrive $queue >/dev/null && ctl wait --empty -t 30 $queue && depth_is $queue-dlq 0; }
ok "the dead letters too" wait_for 120 redriven

count=$((chunks * chunk))
echo "# failures by code: $(payments 'SELECT code, count(*) FROM failures GROUP BY code' | xargs)"
is "each message is stored, once" "$count $count" \
  "$(payments "SELECT count(*) || ' ' || count(DISTINCT message_id) FROM payments")"
is "those that were never dead letters in order" 0 "$(payments "
  SELECT count(*) FROM (SELECT CAST(due_date AS INTEGER) AS n,
    lag(CAST(due_date AS INTEGER)) OVER (PARTITION BY customer_id ORDER BY rowid) AS before
    FROM payments WHERE message_id NOT IN (SELECT message_id FROM failures)) WHERE before >= n")"
ok "there were some dead letters" [ "$(payments 'SELECT count(*) FROM failures')" -gt 0 ]
ok "and some kills" [ $kills -gt 0 ]
is "what was published has ended" "$(field .published)" "$(($(field .done) + $(field .failed)))"
is "every failure is a dead letter that was sent again" "$(payments 'SELECT count(*) FROM failures')" "$(field .dead_lettered)"
done_testing
