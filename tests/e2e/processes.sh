#!/bin/bash
# A service without a store, in several processes that share a queue's lanes: order, the gate, deaths,
# standby.
. "$top_srcdir/tests/lib.sh"

cat >"$dir/conf" <<'EOF'
topic events { group_by = {customer_id} dedup_by = {content} }
queue events { topic = events }
queue blocking { topic = events server_error = block-group retry_base = 20ms retry_factor = 1 }
EOF
: >"$dir/journal"
: >"$dir/journal2"
ctl() { "$top_builddir/headgatectl" -c "$dir/conf" "$@"; }
up() { ctl wait --ready -t 1; }
n=0
send() { # send ROUNDS CUSTOMER...: a message to each of them, so many times
  rounds=$1
  shift
  for ((i = 0; i < rounds; i++)); do
    for customer; do
      echo "{\"customer_id\":\"$customer\",\"n\":$((n += 1))}"
    done
  done >"$dir/in"
  publish -c "$dir/conf" --wait 20 "$dir/in"
}
handled() { # handled MESSAGES JOURNAL: so many have been
  [ "$(cut -d' ' -f1 "$2" | sort -un | wc -l)" = "$1" ]
}
# Messages that a handler was started on for the first time after a later one of the same customer.
out_of_order() { awk '!seen[$1]++ { if ($5 + 0 < last[$4]) bad++; last[$4] = $5 + 0 } END { print bad + 0 }' "$1"; }
lines() { wc -l <"$1"; }
held() { # held COUNT: so many handlers wait
  [ "$(awk -v from="$from" 'NR > from { print $3 }' "$dir/journal" | sort -u | wc -l)" = "$1" ]
}
workers() { ctl status --json | jq -c ".queues[] | select(.name == \"$1\") | .workers"; }
is_up() { [ "$(workers "$1" | jq length)" = "$2" ]; }
field() { ctl status --json | jq -r ".queues[] | select(.name == \"events\") | $1"; }
customers=$(seq -f 'C%.0f' 40)

start router headgate-router -c "$dir/conf"
wait_for 20 up
"$top_builddir/tests/journal-worker" events "$dir/journal" -c "$dir/conf" -j 4 2>>"$dir/worker.log" &
worker=$!
ok "four processes attach" wait_for 20 is_up events 4
is "each has a lane of its own" "[[0],[1],[2],[3]] 4" \
  "$(workers events | jq -c '[.[].lanes] | sort') $(workers events | jq '[.[].pid] | unique | length')"

# shellcheck disable=SC2086
send 50 $customers
ok "2000 messages are handled" ctl wait --empty -t 30 events
is "each once" "2000 2000" "$(lines "$dir/journal") $(cut -d' ' -f1 "$dir/journal" | sort -u | wc -l)"
is "in each customer's order" 0 "$(out_of_order "$dir/journal")"
is "by all four, a lane in one process" "4 4" \
  "$(cut -d' ' -f3 "$dir/journal" | sort -u | wc -l) $(cut -d' ' -f2,3 "$dir/journal" | sort -u | wc -l)"

# A customer of each lane.
for lane in 0 1 2 3; do
  eval "in_$lane=$(awk -v lane=$lane '$2 == lane { print $4; exit }' "$dir/journal")"
done

# After a 5xx, no handler is started.
# shellcheck disable=SC2154
touch "$dir/journal.$in_2"
# shellcheck disable=SC2086
send 20 $customers
ok "a 5xx in one process closes the gate" ctl wait --state TRIPPED -t 20 events
ok "the processes that see it stop" ctl stop events --reason "test: all have seen it"
before=$(lines "$dir/journal")
# shellcheck disable=SC2086
send 20 $customers
ok "the queue does not get empty" eval '! ctl wait --empty -t 2 events 2>/dev/null'
is "no handler was started" "$before" "$(lines "$dir/journal")"
rm "$dir/journal.$in_2"
ctl start events >/dev/null
ok "when it is opened all are handled" ctl wait --empty -t 30 events
ok "each of them" handled 3600 "$dir/journal"
is "in each customer's order" 0 "$(out_of_order "$dir/journal")"

# Two are at work, and the one that comes later fails first.
touch "$dir/journal.hold.$in_1" "$dir/journal.hold.$in_3" "$dir/journal.$in_1" "$dir/journal.$in_3"
from=$(lines "$dir/journal")
send 1 "$in_1" "$in_3"
ok "two handlers are at work" wait_for 20 held 2
head_is() { # head_is SEQUENCE: status names the message with it
  [ "$(field .tripped_by.message_id)" = \
    "$(ctl peek --json events | jq -r "select(.sequence == $1) | .message_id")" ]
}
sequence_of() { awk -v from="$from" -v customer="$1" 'NR > from && $4 == customer { print $1 }' "$dir/journal"; }
rm "$dir/journal.hold.$in_3"
ok "the later one fails, and is the head" wait_for 20 head_is "$(sequence_of "$in_3")"
rm "$dir/journal.hold.$in_1"
ok "the earlier one fails too, and takes its place" wait_for 20 head_is "$(sequence_of "$in_1")"
# The first of them is tried, and its handler takes its time.
touch "$dir/journal.hold.$in_1"
is "start does not know what comes of it: 75" 75 \
  "$(ctl start -t 200ms events >"$dir/out" 2>"$dir/why"; echo $?)"
ok "and says so" grep -q 'PROBING: what comes of the message that is tried first is not known yet' "$dir/why"
ok "and what to do" grep -q 'headgatectl.* start events$' "$dir/why"
is "it is tried still" PROBING "$(field .state)"
ctl start events >"$dir/out" 2>"$dir/why" &
waiting=$!
waits() { [ "$(ps -o stat= -p "$waiting" | cut -c1)" = S ] && grep -q 'already PROBING' "$dir/out"; }
ok "start waits again" wait_for 20 waits
ctl stop events >/dev/null 2>&1 &
stopping=$!
wait $waiting
is "until the queue is stopped: 75" "75 1" "$? $(grep -c 'STOPPED meanwhile' "$dir/why")"
rm "$dir/journal.$in_1" "$dir/journal.$in_3" "$dir/journal.hold.$in_1"
wait $stopping
ok "then it is opened" ctl start events
ok "and both are handled" ctl wait --empty -t 30 events
is "in each customer's order" 0 "$(out_of_order "$dir/journal")"

# One that dies: only its message counts, the others go on.
touch "$dir/journal.hold.$in_0" "$dir/journal.hold.$in_1"
from=$(lines "$dir/journal")
# shellcheck disable=SC2154
send 1 "$in_0" "$in_1"
ok "two handlers are at work again" wait_for 20 held 2
victim=$(awk -v from="$from" -v customer="$in_0" 'NR > from && $4 == customer { print $3 }' "$dir/journal")
kill -KILL "$victim"
survived() { grep -c '"message.not_survived"' "$dir/headgate-router.log"; }
ok "its death is noticed" wait_for 20 grep -q '"message.not_survived"' "$dir/headgate-router.log"
rm "$dir/journal.hold.$in_0" "$dir/journal.hold.$in_1"
ok "all are handled" ctl wait --empty -t 30 events
is "one message cost a life" 1 "$(survived)"
ok "there are four processes again" wait_for 20 is_up events 4
is "in each customer's order" 0 "$(out_of_order "$dir/journal")"

# Only a customer's messages wait, whoever dies.
"$top_builddir/tests/journal-worker" blocking "$dir/journal2" -c "$dir/conf" -j 2 2>>"$dir/worker2.log" &
second=$!
touch "$dir/journal2.$in_1"
ok "another queue has two processes" wait_for 20 is_up blocking 2
all=$(ctl status --json | jq '.queues[] | select(.name == "blocking") | .published')
depth() { [ "$(ctl status --json | jq '.queues[] | select(.name == "blocking") | .depth')" = "$1" ]; }
of_blocked=$(awk -v customer="$in_1" '$4 == customer { print $5 }' "$dir/journal" | sort -u | wc -l)
ok "all but one customer's messages are handled" wait_for 30 depth "$of_blocked"
for pid in $(workers blocking | jq -r '.[].pid'); do
  kill -KILL "$pid"
  ok "a process dies, and is back" wait_for 20 eval "is_up blocking 2 && ! workers blocking | grep -q $pid"
done
ok "the customer still waits" depth "$of_blocked"
rm "$dir/journal2.$in_1"
ok "then they are handled too" ctl wait --empty -t 30 blocking
ok "each of them" handled "$all" "$dir/journal2"
is "in each customer's order" 0 "$(out_of_order "$dir/journal2")"
stop "$second"

# Standby, with another number of processes.
"$top_builddir/tests/journal-worker" events "$dir/journal" -c "$dir/conf" -j 2 2>>"$dir/standby.log" &
second=$!
both_wait() { [ "$(grep -c '"worker.standby"' "$dir/standby.log")" = 2 ]; }
ok "a second worker waits" wait_for 20 both_wait
stop "$worker"
is "the first one is told to stop" 0 $?
ok "and the second takes over" wait_for 20 is_up events 2
send 1 "$in_0" "$in_1" "$in_2" "$in_3"
ok "it handles all lanes" ctl wait --empty -t 30 events

"$top_builddir/tests/journal-worker" events "$dir/journal" -c "$dir/conf" -j 5 2>"$dir/why"
is "no more processes than lanes" "64 1" "$? $(grep -c 'has 4 lanes' "$dir/why")"
"$top_builddir/headgate-payment" -j 2 2>"$dir/why"
is "a service with a store has one" "64 1" "$? $(grep -c 'has a store' "$dir/why")"

# A gate that is opened while no worker is attached.
trip() { # trip MESSAGES: of one customer, the first of which fails
  touch "$dir/journal.$in_1"
  send "$1" "$in_1"
  ctl wait --state TRIPPED -t 20 events
}
no_worker() {
  stop "$second"
  wait_for 20 is_up events 0
}
opening() { # opening OPTION...: in the background, until it waits for a worker
  : >"$dir/why" # of the one before it
  "$top_builddir/headgatectl" -c "$dir/conf" start -t 30 "$@" events >"$dir/out" 2>"$dir/why" &
  waiting=$!
  wait_for 20 grep -q 'no worker is attached: waiting' "$dir/why"
}
attach() {
  "$top_builddir/tests/journal-worker" events "$dir/journal" -c "$dir/conf" -j 2 2>>"$dir/standby.log" &
  second=$!
}
trip 1
no_worker
is "start does not know what will come of it: 75" 75 \
  "$(ctl start -t 100ms events >"$dir/out" 2>"$dir/why"; echo $?)"
ok "and says that the message will be tried" grep -q 'PROBING: no worker is attached; the message .* is tried when one is' "$dir/why"
ok "start waits for a worker" opening
rm "$dir/journal.$in_1"
attach
wait $waiting
is "and then for what comes of it: 0" "0 1" "$? $(grep -c 'RUNNING: the probe passed' "$dir/out")"

trip 2
head=$(field .tripped_by.message_id)
no_worker
is "nor is a message given up: 75" 75 \
  "$(ctl start --skip-head -t 100ms events >"$dir/out" 2>"$dir/why"; echo $?)"
ok "and it says that it will be" grep -q 'PROBING: no worker is attached; the message .* is given up when one is' "$dir/why"
ctl stop events >/dev/null
ctl start events >/dev/null
attach
ctl wait --state TRIPPED -t 20 events
no_worker
ok "start waits again" opening --skip-head --message "$head"
kill -STOP $waiting
attach
trips_again() { [ "$(field .state)" = TRIPPED ] && [ "$(field .tripped_by.message_id)" != "$head" ]; }
ok "the next one trips the queue" wait_for 20 trips_again
kill -CONT $waiting
wait $waiting
is "start says that the queue does not run: 75" 75 $?
ok "which message was given up" grep -q "message $head was given up" "$dir/out"
ok "and which one trips it now" grep -q "TRIPPED again: message $(field .tripped_by.message_id) answered 500" "$dir/why"
rm "$dir/journal.$in_1"
ctl start events >/dev/null
ok "then all are handled" ctl wait --empty -t 20 events

# A handler that fails although its queue was stopped meanwhile.
stopped_by() { field '"\(.state) \(.tripped_by.message_id == null) \(.tripped_by.status) \(.reason)"'; }
fails_while_it_stops() { # fails_while_it_stops OPTION...: of stop, which ends with $stopped
  touch "$dir/journal.$in_1" "$dir/journal.hold.$in_1"
  from=$(lines "$dir/journal")
  send 3 "$in_1"
  wait_for 20 held 1
  ctl stop "$@" events >"$dir/out" 2>"$dir/why" &
  stopping=$!
  ctl wait --state STOPPED -t 20 events
  rm "$dir/journal.hold.$in_1"
  wait $stopping
  stopped=$?
}
says_failed() { grep -q "$1message $(field .tripped_by.message_id) answered 500" "$dir/why"; }
fails_while_it_stops --drain -t 600 --reason drained
is "stop --drain says that it is not: 75" 75 $stopped
ok "at once, with what failed" says_failed '3 messages .* not handled, as '
is "the queue is STOPPED, and status says what failed" "STOPPED false 500 drained" "$(stopped_by)"
is "stop --drain again says so, too" 75 "$(ctl stop --drain -t 600 events >"$dir/out" 2>"$dir/why"; echo $?)"
ok "naming the message" says_failed '3 messages .* not handled, as '
stop "$router"
start router headgate-router -c "$dir/conf"
wait_for 20 is_up events 2
is "a router that is restarted knows it" "STOPPED false 500 drained" "$(stopped_by)"
head=$(field .tripped_by.message_id)
ctl start events >"$dir/out"
ok "start says that it is tried again" grep -q "message $head, which answered 500, is tried again" "$dir/out"
ctl wait --state TRIPPED -t 20 events
is "of a queue that is TRIPPED nothing is drained: 75" 75 \
  "$(ctl stop --drain -t 600 events >"$dir/out" 2>"$dir/why"; echo $?)"
ok "and it says why" says_failed 'messages .* not handled, as '
rm "$dir/journal.$in_1"
ctl start events >/dev/null
ok "then they are handled" ctl wait --empty -t 20 events
is "nothing to drain: 0" 0 "$(ctl stop --drain -t 600 events >"$dir/out"; echo $?)"
ctl start events >/dev/null
fails_while_it_stops --reason plain
is "a plain stop is done: 0" 0 $stopped
is_noted() { [ "$(stopped_by)" = "STOPPED false 500 plain" ]; }
ok "and status says what failed" wait_for 20 is_noted
rm "$dir/journal.$in_1"
ctl start events >/dev/null
ok "they are handled, too" ctl wait --empty -t 20 events

# A dead-letter queue has none of its own.
touch "$dir/journal.$in_1"
"$top_builddir/tests/journal-worker" events-dlq "$dir/journal" -c "$dir/conf" 2>>"$dir/dead.log" &
dead=$!
ok "a dead-letter queue trips" ctl wait --state TRIPPED -t 20 events-dlq
is "status does not propose to give its message up" 0 "$(ctl status | grep -c 'skip-head')"
dead_letters() { ctl status --json | jq -r '.queues[] | select(.name == "events-dlq") | "\(.state) \(.depth) \(.failed)"'; }
for of in "" "--group $in_1"; do
  # shellcheck disable=SC2086
  is "start $of --skip-head is refused: 64" 64 \
    "$(ctl start $of --skip-head events-dlq >"$dir/out" 2>"$dir/why"; echo $?)"
  ok "it says what would be lost, and how it is kept" \
    grep -q 'would be gone for good.*dead show --raw --reveal.*--force' "$dir/why"
done
is "nothing was changed" "TRIPPED 1 0" "$(dead_letters)"
ok "--force does it" ctl start --skip-head --force events-dlq
is_gone() { [ "$(dead_letters)" = "RUNNING 0 1" ]; }
ok "it is gone" wait_for 20 is_gone
is "--force goes with --skip-head" 64 "$(ctl start --force events 2>"$dir/why"; echo $?)"
stop "$dead"

stop "$second"
stop "$router"
done_testing
