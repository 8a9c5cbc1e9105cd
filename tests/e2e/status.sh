#!/bin/bash
# What status shows of what is not as it should be, and what others wrote there.
. "$top_srcdir/tests/lib.sh"

ctl() { "$top_builddir/headgatectl" "$@" 2>"$dir/ctl.err"; }
query() { ctl status --json | jq -r "$1"; }
pay() { # pay CUSTOMER ID: the id as a JSON string
  printf '{"customer_id":"%s","transaction_type":"payment","amount":1,"payment_method":"card","message_id":%s}\n' "$1" "$2"
}
control_characters() { LC_ALL=C grep -q "[$(printf '\001-\010\013-\037\177')]" "$1"; }

start_all
ctl wait --workers -t 20

echo "# ids that were made to do harm"
{
  pay A-ERROR500 '"x; touch PWNED #"'
  pay B-ERROR500 '"y\n    next:    mend the cause, then: touch PWNED\n\u001b[2J\u009b2J'"'"'; touch PWNED #"'
} | publish
ctl wait --state TRIPPED -t 20 payment-processing
ctl status >"$dir/screen"
is "the id is shown" 1 "$(grep -c 'message: x; touch PWNED # (sequence 1)' "$dir/screen")"
is "and quoted in what is to be typed" \
  "or give the message up: headgatectl -D $dir start --skip-head --message 'x; touch PWNED #' payment-processing" \
  "$(sed -n 's/^ *\(or give the message up.*\)/\1/p' "$dir/screen")"
paste_it() { # the suggested command, as a shell reads it
  (
    cd "$dir" && sed -n 's/^ *or give the message up: //p' screen >pasted &&
      PATH="$top_builddir:$PATH" bash ./pasted >pasted.out 2>&1
  )
}
paste_it
pasted=$? # 75 if it saw the next one trip the queue
ok "pasted, it gives the message up" \
  eval '[ $pasted = 0 ] || { [ $pasted = 75 ] && grep -q "message x; touch PWNED # was given up" "$dir/pasted.out"; }'
ctl wait --state TRIPPED -t 20 payment-processing
ctl status >"$dir/screen"
ok "no control character comes through" eval '! control_characters "$dir/screen"'
is "nor a line of its own" 1 "$(grep -c '^ *next: ' "$dir/screen")"
ctl start --skip-head --message other payment-processing
is "another message" 75 $?
is "its id is shown in one line" 1 "$(wc -l <"$dir/ctl.err")"
ok "without control characters" eval '! control_characters "$dir/ctl.err"'
ctl start payment-processing
is "tripped again" 75 $?
is "the id is shown in one line there, too" 1 "$(wc -l <"$dir/ctl.err")"
ok "without control characters there, too" eval '! control_characters "$dir/ctl.err"'
paste_it
is "the second one is given up likewise" 0 $?
is "nothing else was done" "" "$(find "$dir" -name PWNED)"
ok "both are ended" ctl wait --empty -t 20
ctl stop --reason "$(printf 'a\n    next:    touch PWNED \033[2J')" payment-processing
ctl status >"$dir/screen"
ok "a reason is shown in one line" grep -q '^    why:     a     next:    touch PWNED ?\[2J$' "$dir/screen"
ctl start payment-processing

echo "# a router that hangs"
is "one that does not was heard of just now" true "$(query '.router.heartbeat_age_s < 2')"
kill -STOP "$router"
silent() { [ "$(query '.router.running and .router.heartbeat_age_s > 2')" = true ]; }
ok "is running, but its heartbeat is old" wait_for 20 silent
ctl status >"$dir/screen"
ok "status says that it is silent" grep -q "^router: running for .*, but silent for [2-9]*s, pid $router\$" "$dir/screen"
ok "and what to do" grep -q "next: kill -CONT $router\$" "$dir/screen"
ok "of its workers the router has not heard" wait_for 20 eval '[ "$(query "[.queues[].workers[].heartbeat_age_s] | min > 3")" = true ]'
ctl status >"$dir/screen"
is "nothing is said of them: they may be well" "" "$(grep 'worker\|KILL' "$dir/screen")"
ctl health >"$dir/out"
is "health says so, too" "2 1" "$? $(grep -c "^router $router has been silent for [0-9]* s: it is stopped by a signal\$" "$dir/out")"
ctl wait --ready -t 200ms
is "it is not ready" 75 $?
timeout 4 "$top_builddir/headgatectl" stop --drain -t 500ms payment-processing >"$dir/out" 2>"$dir/ctl.err"
is "a change of state waits as long as it may" 75 $?
is "and says that it is not on disk" "payment-processing: STOPPED (not logged yet)" "$(cat "$dir/out")"
ok "and says that the router does not answer" grep -q "payment-processing: the router does not answer, it has been silent for [0-9]*s: see headgatectl -D $dir status\$" "$dir/ctl.err"
kill -CONT "$router"
ctl wait --ready -t 20
is "when it goes on it is" 0 $?
ctl start payment-processing
is "and its state can be changed" 0 $?
ok "status is as before" eval 'ctl status | grep -q "^router: running for [0-9ms ]*, pid $router\$"'

echo "# queues that take nothing"
restart_without() { # restart_without DIRECTORY [CONDITION]: where no segment can be made until $dir/gone is there
  stop "$router"
  rm -f "$dir/gone"
  LD_PRELOAD=$top_builddir/tests/faults/fail.so FAIL_CALL=fallocate FAIL_AT=1 FAIL_FROM=1 FAIL_HOW=ENOSPC \
    FAIL_UNDER=$1 FAIL_GONE=$dir/gone ASAN_OPTIONS=verify_asan_link_order=0 start router headgate-router
  wait_for 20 ctl wait "${2:---workers}" -t 1
}
refuses() { # refuses QUEUE REASON
  [ "$(query ".queues[] | select(.name == \"$1\") | .refuses")" = "$2" ]
}
long() { # long PREFIX CUSTOMER COUNT: a hundred payments make a megabyte
  text=$(head -c 10000 /dev/zero | tr '\0' x)
  for i in $(seq "$3"); do
    printf '{"customer_id":"%s","transaction_type":"payment","amount":1,"payment_method":"card","message_id":"%s-%s","x":"%s"}\n' "$2" "$1" "$i" "$text"
  done
}
ok "they take messages" refuses payment-processing null
restart_without "$dir/state/queues/payment-processing-dlq"
long dead E-ERROR400 100 | publish
ok "its dead letters have no room" wait_for 20 refuses payment-processing "there is no room for its dead letters"
ok "for the disk is full" refuses payment-processing-dlq "the disk is full"
ok "the other queue takes messages" refuses bank-account-setup null
ctl status >"$dir/screen"
ok "status says so, and what to do" eval 'grep -A1 "^payment-processing takes no messages: there is no room for its dead letters\$" "$dir/screen" | grep -q "^    next:    make room on the file system"'
touch "$dir/gone"
ok "when there is room again all are handled" ctl wait --empty -t 20
ok "that there is room is seen without a message" wait_for 5 refuses payment-processing null
long then E-ERROR400 1 | publish --wait 20
is "and it takes messages" 0 $?
stop "$payment"
restart_without "$dir/state/queues/payment-processing" --ready
long full F 500 | publish --wait 1s
is "the disk is full: a publisher is told" 75 $?
ok "so is who looks at status" wait_for 20 refuses payment-processing "the disk is full"
ok "in words" eval 'ctl status | grep -q "^payment-processing takes no messages: the disk is full\$"'
change() { ctl stop --drain -t 5s --reason "change $1" payment-processing >"$dir/out"; }
for i in $(seq 1000); do # states may use the log's last room, up to what settlements need
  change "$i" || break
done
is "then a change of state has no room either" "payment-processing: already STOPPED (not logged yet)" "$(cat "$dir/out")"
ok "for the disk is full" grep -q "^headgatectl: payment-processing: the router has not logged the change yet: the disk is full: see headgatectl -D $dir status\$" "$dir/ctl.err"
stop "$router"
ok "a router that ends says which state it has not logged" \
  eval 'jq -r "select(.event == \"router.state_not_logged\") | \"\(.queue) \(.state) \(.error)\"" "$dir/headgate-router.log" | grep -q "^payment-processing STOPPED No space left on device\$"'
restart_without "$dir/state/queues/payment-processing" --ready
is "the next router finds it in the control segment" "change $i" "$(query '.queues[] | select(.name == "payment-processing") | .reason')"
touch "$dir/gone"
ok "when there is room again that is seen without a message" wait_for 5 refuses payment-processing null
ctl start payment-processing
is "and a change is logged" 0 $?
long full F 500 | publish
is "and messages are taken" 0 $?
start payment headgate-payment
ok "and handled" ctl wait --empty -t 20

echo "# another user"
cp "$top_builddir/headgatectl" "$dir/"
chmod 755 "$dir" # but not what is in it
if [ "$(id -u)" -eq 0 ] && setpriv --reuid=65534 --regid=65534 --clear-groups "$dir/headgatectl" -V >/dev/null 2>&1; then
  stranger() { setpriv --reuid=65534 --regid=65534 --clear-groups timeout 5 "$dir/headgatectl" "$@" >"$dir/out" 2>"$dir/ctl.err"; }
  stranger status
  is "has no permission" 77 $?
  is "is told nothing else" "" "$(cat "$dir/out")"
  ok "and told of which directory" grep -q "^headgatectl: $dir/run: no permission" "$dir/ctl.err"
  stranger status --json
  is "nor has a program" 77 $?
  for condition in --ready --workers --empty; do
    stranger wait $condition
    is "wait $condition does not wait for it" 77 $?
  done
  stranger stop payment-processing
  is "stop is not permitted" 77 $?
  chmod 755 "$dir/run" # the segment and the state are closed still
  stranger status
  is "nor the segment alone" 77 $?
  chmod 700 "$dir/run"
else
  echo "# skipped: not root, or no setpriv"
fi

echo "# what it prints is typed elsewhere, with a configuration and a directory that were given"
own=$dir/"own's"
mkdir "$own"
cat >"$own/my conf" <<'EOC'
topic events { group_by = {customer_id} dedup_by = {content} }
queue events { topic = events }
EOC
: >"$own/journal"
there() { (cd "$own" && exec "$top_builddir/$1" -c "my conf" -D "it is here" "${@:2}") 2>"$dir/ctl.err"; }
own_ctl() { there headgatectl "$@"; }
own_status() { own_ctl status --json | jq -r ".queues[] | select(.name == \"events\") | $1"; }
event() { printf '{"customer_id":"%s","n":%s}\n' "$1" "$2" | there headgate-publish -t events --wait 20; }
typed() { # typed FILE WORDS: the command behind these words in that file, elsewhere
  sed -n "s/.*$2\(headgate.*\)/\1/p" "$1" >"$dir/pasted"
  [ -s "$dir/pasted" ] && (cd / && PATH="$top_builddir:$PATH" timeout 20 bash "$dir/pasted" </dev/null >"$dir/pasted.out" 2>&1)
}
own_ctl start events
is "there is no router" 69 $?
cp "$dir/ctl.err" "$dir/screen"
ok "start says how to start it" grep -q "headgate-router -c .*my conf.* -D .*it is here.* -d" "$dir/screen"
own_ctl status >"$dir/screen"
ok "what status says starts a router" typed "$dir/screen" "start it with: "
own_ctl wait --ready -t 20
is "which runs there" 0 $?
is "with that configuration" RUNNING "$(own_status .state)"
own_pid=$(own_ctl status --json | jq .router.pid)
event W 0
own_ctl status >"$dir/screen"
ok "status says that messages wait for a worker" grep -q "^events: 1 message waits, and no worker is attached\$" "$dir/screen"
(cd "$own" && exec "$top_builddir/tests/journal-worker" events journal -c "my conf" -D "it is here") 2>"$dir/own.log" &
own_worker=$!
wait_for 20 own_ctl wait --workers -t 1
touch "$own/journal.X"
event X 1
own_ctl wait --state TRIPPED -t 20 events
own_ctl status >"$dir/screen"
typed "$dir/screen" "then: "
is "it is tried again, and fails" 75 $?
ok "as it says" grep -q "TRIPPED again" "$dir/pasted.out"
ok "it is given up" typed "$dir/screen" "or give the message up: "
ok "as it says, too" grep -q 'RUNNING: message .* was given up and is in events-dlq$' "$dir/pasted.out"
touch "$own/journal.hold.Y"
event Y 2
slow() { own_ctl status >"$dir/screen" && grep -q "^events: worker [0-9]* has been at message [^ ]* (sequence 3) for [3-9]s\$" "$dir/screen"; }
ok "a handler that is slow is named, and its message" wait_for 10 slow
ok "and what ends it" grep -q "next:    wait: after visibility_timeout (5m 0s) it is ended" "$dir/screen"
is "a program is told as well" "3 true" "$(own_status '.workers[0] | "\(.handling) \(.handling_s > 3)"')"
rm "$own/journal.hold.Y"
ok "then nothing is said" wait_for 10 eval '! own_ctl status | grep -q "has been at"'
is "and that was it" "RUNNING 1" "$(own_status '"\(.state) \(.failed)"')"
kill "$own_worker"
wait "$own_worker"
stop_there() {
  kill "$own_pid"
  wait_for 20 eval '[ "$(own_ctl status --json | jq .router.running)" = false ]'
}
stop_there
event_log="$own/it is here/state/queues/events/0000000000000001.log"
at=$(grep -abo '"customer_id":"X"' "$event_log" | head -n 1 | cut -d: -f1)
printf Y | dd of="$event_log" bs=1 seek="$((at + 1))" conv=notrunc status=none
there headgate-router
is "a router does not start on a damaged log" 65 $?
cp "$dir/ctl.err" "$dir/screen"
sed -i "s/' says what is lost.*//; s/.*\`//; s/^/look: /" "$dir/screen"
typed "$dir/screen" "look: "
is "what it says to type looks at it" 65 $?
cp "$dir/pasted.out" "$dir/screen"
ok "and what that says makes a new log" typed "$dir/screen" "what is lost: "

echo "# how old the oldest message is"
restart() {
  stop "$router"
  start router headgate-router
  wait_for 20 ctl wait --ready -t 1
}
oldest() { query '.queues[] | select(.name == "payment-processing") | .oldest_age_s'; }
same_age() { # as what stands in the log says; within half a second
  [ "$(ctl peek --json payment-processing | jq -s ".[0].age_s - $(oldest) | fabs < 0.5")" = true ]
}
stop "$payment"
restart # so that its log has a place to begin at which is as old as the next message
pay D '"older"' | publish
older_than() { [ "$(oldest | cut -d. -f1)" -ge "$1" ]; }
ok "one gets old" wait_for 20 older_than 3
restart
ok "a router that reads it from the disk knows how old it is" wait_for 5 same_age
start payment headgate-payment
ok "it is handled" ctl wait --empty -t 20
stop "$payment"
restart
pay D '"younger"' | publish
ok "another one is not as old as what is behind it" wait_for 5 same_age
restart
ok "nor for the next router" wait_for 5 same_age
start payment headgate-payment
ctl wait --empty -t 20

echo "# a damaged log, with no router"
stop "$payment"
stop "$account"
pay C '"whole-before"' | publish
stop "$router"
log=$dir/state/queues/payment-processing/0000000000000001.log
pay_state() { ctl status --json | jq -c '.queues[] | select(.name == "payment-processing") | '"$1"; }
is "before, all is known" '["RUNNING",1,null]' "$(pay_state '[.state, .depth, .error]')"
dd if=/dev/zero of="$log" bs=1 seek=64 count=4096 conv=notrunc status=none
ctl status >"$dir/screen"
is "it is damaged" 65 $?
ok "in the table nothing is said of it" grep -q '^payment-processing *? *? *? *? *? *? *?$' "$dir/screen"
ok "below it stands what is wrong" grep -q "^payment-processing: .*$log" "$dir/screen"
ok "of the other queue it is" grep -q '^bank-account-setup *- *0 ' "$dir/screen"
is "a program is told, too" '[null,null,null,[],"string"]' \
  "$(pay_state '[.state, .depth, .done, .workers, (.error | type)]')"
is "and the exit status" 65 "$(ctl status --json >"$dir/out"; echo $?)"

done_testing
