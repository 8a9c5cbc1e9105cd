#!/bin/bash
# A log that went back in time gives sequences again that the store knows: no new message is taken for the one that
# had its sequence before. And what headgate-operations(7) says to do then.
. "$top_srcdir/tests/lib.sh"

ctl() { "$top_builddir/headgatectl" "$@" 2>>"$dir/ctl.err"; }
query() { ctl status --json | jq -r ".queues[1] | $1"; }
pays() { # pays PREFIX COUNT
  for i in $(seq "$2"); do
    echo "{\"customer_id\":\"C$i\",\"transaction_type\":\"payment\",\"amount\":1,\"payment_method\":\"card\",\"message_id\":\"$1$i\"}"
  done
}
stored() { payments 'SELECT group_concat(message_id) FROM (SELECT message_id FROM payments ORDER BY rowid)'; }
begin() {
  : >"$dir/headgate-router.log"
  start router headgate-router
  start payment headgate-payment
  wait_for 20 ready
}
end() { # all of it, by kill -9
  kill -KILL "$router"
  kill -KILL "$payment"
  wait 2>/dev/null
  for pid in $(programs); do # the worker's child dies with it
    wait_for 20 eval "! [ -e /proc/$pid ]"
  done
}

begin
pays old 3 | publish
ctl wait --empty -t 20
end
cp -a "$dir/state/queues" "$dir/state/known" "$dir/"
begin
pays lost 3 | publish
ctl wait --empty -t 20
end
rm -rf "$dir/state/queues" "$dir/state/known"
cp -a "$dir/queues" "$dir/known" "$dir/state/"

begin
# One of those that were lost is published again and has its sequence again: it was handled.
{ pays lost 1; pays new 3; pays lost 3 | tail -n 1; } | publish
ctl wait --state TRIPPED -t 20 payment-processing
is "the first new message closes the gate" "new1 503" "$(query '.tripped_by | "\(.message_id) \(.status)"')"
is "it says why" "the log lost its end: sequence 5 was given before, to message lost2" "$(query .tripped_by.error)"
is "the one that was handled is settled, the others wait" "4 4" "$(query '"\(.done) \(.depth)"')"
is "nothing is applied in another's place" old1,old2,old3,lost1,lost2,lost3 "$(stored)"
ctl start payment-processing >"$dir/out"
is "it does not pass" 75 $?

ctl start --skip-head --message new1 payment-processing >"$dir/out"
tripped_by() { [ "$(query '.tripped_by.message_id')" = "$1" ]; }
ok "it can be given up, and the next one closes the gate" wait_for 20 tripped_by new2
is "then it is a dead letter" "new1 503" \
  "$(ctl dead list --json payment-processing | jq -r '"\(.message_id) \(.status)"')"
ctl dead redrive payment-processing >"$dir/out"
is "and can be given back" 0 $?

# The commands of the page, as they stand there.
recipes 'the log lost its end' >"$dir/commands"
page() { # page PATTERN: those that match, with their further lines
  (cd "$dir" && PATH=$top_builddir:$PATH &&
    eval "$(awk -v pattern="$1" '/^[^ ]/ { wanted = $0 ~ pattern } wanted' commands)")
}
page '^.umask'
page '^sqlite3'
page '^jq'
is "what waits can be kept, but for what was handled" "new2 new3 new1" "$(jq -r .message_id "$dir/again" | xargs)"
stop "$payment"
stop "$router"
page '^m'
begin
ok "and be published to a new log" page '^headgate-publish'
ctl wait --empty -t 20
is "there each of them is handled, once" old1,old2,old3,lost1,lost2,lost3,new2,new3,new1 "$(stored)"
is "and none failed" 0 "$(payments 'SELECT count(*) FROM failures')"
done_testing
