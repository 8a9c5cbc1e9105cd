#!/bin/bash
# Somebody truncates the control segment, which programs have mapped. The memory is lost: they say so and end, and the
# next router makes a new segment from its logs.
. "${top_srcdir:?}/tests/lib.sh"

cat >"$dir/conf" <<'END'
topic events { group_by = {customer_id} }
queue events { topic = events }
queue others { topic = events }
END
: >"$dir/journal"
ctl() { "$top_builddir/headgatectl" -c "$dir/conf" "$@"; }
up() { ctl wait --ready -t 1; }
field() { ctl status --json | jq -r ".queues[] | select(.name == \"$1\") | .$2"; }
send() { # send FIRST LAST
  seq "$1" "$2" | sed 's|.*|{"customer_id":"C","n":&,"message_id":"m&"}|' | publish -c "$dir/conf" --wait 20
}
handled() { [ "$(cut -d' ' -f5 "$dir/journal" | xargs)" = "$(seq "$1" | xargs)" ]; } # each once, in order
attached() { grep -q '"worker.attached"' "$dir/worker.log"; }
explained() { grep -q 'RUN/control.*truncated.*"A program ended with 74"' "$1"; }

start router headgate-router -c "$dir/conf"
wait_for 20 up
"$top_builddir/tests/journal-worker" events "$dir/journal" -c "$dir/conf" 2>"$dir/worker.log" &
worker=$!
wait_for 20 attached
send 1 10
wait_for 20 handled 10
ctl stop others

: >"$dir/run/control"
wait "$router"
is "the router ends with 74" 74 $?
ok "and says why" explained "$dir/headgate-router.log"
ctl health >"$dir/health"
is "headgatectl finds no router" "2 no router is running in $dir/run" "$? $(cat "$dir/health")"

start router headgate-router -c "$dir/conf"
ok "the next router starts" wait_for 20 up
is "with each state" "RUNNING STOPPED" "$(field events state) $(field others state)"
send 11 20
ok "the worker goes on, with each message once, in order" wait_for 20 handled 20
is "no message lost a life" 0 "$(grep -c '"message.not_survived"' "$dir/headgate-router.log")"
stop "$worker"
stop "$router"
done_testing
