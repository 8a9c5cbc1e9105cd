#!/bin/bash
# Which instance is meant: names and --all are the router's, whatever configuration headgatectl has; printed commands
# mean the same instance in any shell; what is not there is said.
. "$top_srcdir/tests/lib.sh"

ctl() { "$top_builddir/headgatectl" "$@" 2>"$dir/ctl.err"; }
state_of() { ctl status --json | jq -r ".queues[] | select(.name == \"$1\") | .state"; }
cat >"$dir/router.conf" <<'EOC'
topic events { group_by = {customer_id} dedup_by = {content} }
queue first { topic = events dead_letter_queue = bin }
queue second { topic = events dead_letter_queue = bin }
EOC
cat >"$dir/other.conf" <<'EOC'
topic events { group_by = {customer_id} dedup_by = {content} }
queue first { topic = events }
queue bin { topic = events }
queue third { topic = events }
EOC

echo "# nothing is there"
ctl status >"$dir/screen"
is "status answers" 0 $?
ok "and says which directory is not there" grep -q "^router: not running, and there is no directory $dir/state\$" "$dir/screen"
ok "nothing is RUNNING" eval '! grep -q RUNNING "$dir/screen"'
is "for a program neither" "[null]" "$(ctl status --json | jq -c '[.queues[].state] | unique')"
ctl health >"$dir/out"
is "health: no router" 2 $?
is "in one line" "no router is running in $dir/run" "$(cat "$dir/out")"
ok "no directory was made" [ ! -e "$dir/run" -a ! -e "$dir/state" ]

echo "# a relative directory, where the working directory was removed"
for program in headgate-router headgate-payment "headgatectl status" headgate-publish; do
  # shellcheck disable=SC2086
  (mkdir "$dir/gone" && cd "$dir/gone" && rmdir "$dir/gone" && unset HEADGATE_DIR && exec "$top_builddir"/$program -D ./x) \
    </dev/null >"$dir/out" 2>&1
  ok "${program%% *} names it, and says what to do" \
    grep -q "^${program%% *}: ./x: relative to the working directory, .*give an absolute name" "$dir/out"
done

echo "# a router with a configuration of its own"
(cd "$dir" && exec "$top_builddir/headgate-router" -c router.conf 2>>"$dir/headgate-router.log") &
router=$!
wait_for 20 ctl wait --ready -t 1
is "and what it read" "$dir/router.conf" "$(ctl status --json | jq -r .router.config)"
is "headgatectl knows its queues" "first second bin" "$(ctl status --json | jq -r '[.queues[].name] | join(" ")')"
for verb in stop start status health peek "dead list"; do
  # shellcheck disable=SC2086
  ctl -c "$dir/other.conf" $verb third >"$dir/out"
  is "$verb: a queue that it does not have" 78 $?
  ok "it is named, and where it is not" grep -q "^headgatectl: third: the router has no queue of this name ($dir/router.conf)" "$dir/ctl.err"
done
ctl wait --state RUNNING -t 100ms third
is "nor is it waited for" 78 $?
ctl stop fist
ok "one that was meant" grep -q "did you mean first?" "$dir/ctl.err"
ctl -c "$dir/other.conf" stop --all >"$dir/out"
is "--all: those that the router takes for all" "first: STOPPED
second: STOPPED" "$(cat "$dir/out")"
is "no dead-letter queue" RUNNING "$(state_of bin)"
ctl status >"$dir/screen"
is "what is printed names configuration and directory" "headgatectl -c $dir/router.conf -D $dir start first" \
  "$(sed -n 's/^    next:    \(headgatectl .* first\)$/\1/p' "$dir/screen")"
ctl start --all >"$dir/out"
is "and opens them" "RUNNING RUNNING" "$(state_of first) $(state_of second)"
ctl health >"$dir/out"
is "health: they have no workers" 1 $?
is "a line each" "first: no worker is attached
second: no worker is attached" "$(cat "$dir/out")"
ctl health bin >"$dir/out"
is "also one that was named" "1 bin: no worker is attached" "$? $(cat "$dir/out")"

echo "# wait says what it waits for"
ctl wait --workers -t 100ms
is "wait --workers runs out of time" 75 $?
is "for these" "headgatectl: wait: time ran out: first has no worker
headgatectl: wait: time ran out: second has no worker" "$(cat "$dir/ctl.err")"
ctl wait --state STOPPED -t 100ms first
is "for this state" "headgatectl: wait: time ran out: first is RUNNING" "$(cat "$dir/ctl.err")"
echo '{"customer_id":"A"}' | publish -t events -c "$dir/router.conf"
ctl wait --empty -t 100ms second
is "for this message" "headgatectl: wait: time ran out: second: 1 message is not settled (it is RUNNING, and has no worker)" \
  "$(cat "$dir/ctl.err")"

echo "# workers that are there, and do not work"
: >"$dir/journal"
"$top_builddir/tests/journal-worker" first "$dir/journal" -c "$dir/router.conf" 2>>"$dir/worker.log" &
worker=$!
"$top_builddir/tests/journal-worker" second "$dir/journal" -c "$dir/router.conf" 2>>"$dir/worker.log" &
other=$!
ctl wait --empty -t 20
is "all is handled" 0 $?
ctl health >"$dir/out"
is "health: all well" "0 all well" "$? $(cat "$dir/out")"
pid=$(ctl status --json | jq '.queues[] | select(.name == "first") | .workers[0].pid')
is "its parent is known" "$worker" "$(ctl status --json | jq '.queues[] | select(.name == "first") | .workers[0].parent')"
kill -STOP "$pid"
frozen() { ctl health first >"$dir/out"; [ $? = 1 ]; }
ok "health: a worker is frozen" wait_for 20 frozen
is "it is named" "first: worker $pid is stopped by a signal" "$(cat "$dir/out")"
for state in RUNNING STOPPED; do
  ctl status >"$dir/screen"
  ok "status names it while $state" grep -q "^first: worker $pid is stopped by a signal" "$dir/screen"
  ok "and what to do" grep -q "^    next:    kill -CONT $pid\$" "$dir/screen"
  ctl stop --drain -t 2s first >"$dir/out"
done
ok "stop says who has not seen it" grep -q "^headgatectl: first: worker $pid has not seen the change yet: it is stopped by a signal" "$dir/ctl.err"
kill -CONT "$pid"
ctl start first >"$dir/out"
is "when it goes on all is well" 0 $?
kill -STOP "$worker"
ok "health: a worker's parent is frozen" wait_for 20 frozen
is "it is named, too" "first: process $worker, the parent of worker $pid, is stopped by a signal" "$(cat "$dir/out")"
ctl status >"$dir/screen"
ok "status says what to do" eval 'grep -A1 "^first: process $worker, the parent of worker $pid, is stopped by a signal" "$dir/screen" | grep -q "^    next:    kill -CONT $worker\$"'
is "also for a program" true "$(ctl status --json | jq '.queues[] | select(.name == "first") | .workers[0].parent_frozen')"
kill -CONT "$worker"
stop "$worker"
stop "$other"
ctl stop --reason "holiday" first >"$dir/out"
ctl status first >"$dir/screen"
ok "no worker is named while it is STOPPED, too" grep -q "^first: no worker is attached\$" "$dir/screen"
ctl health first >"$dir/out"
is "health: closed, and no worker" 2 "$(wc -l <"$dir/out")"

echo "# without a router"
stop "$router"
ctl -c "$dir/other.conf" status >"$dir/screen"
is "status answers" 0 $?
ok "a closed gate is closed" grep -q '^first  *STOPPED ' "$dir/screen"
ok "what was never there is -" grep -q '^third  *-  *-  *-  *-  *-  *-  *-$' "$dir/screen"
ok "a log that the configuration does not know is named" \
  grep -q "^second: has a log (0 messages wait), and there is no such queue ($dir/other.conf)\$" "$dir/screen"
is "for a program, too" '["second"]' "$(ctl -c "$dir/other.conf" status --json | jq -c .unknown_logs)"
ctl -c "$dir/other.conf" status second
is "its name is in no configuration" 64 $?

if [ "$(id -u)" -eq 0 ]; then
  chown 65534 "$dir/state"
  ctl -c "$dir/router.conf" status >"$dir/screen"
  ok "whose it is, if it is another user's" grep -q "^        it belongs to user [^ ]*, as whom it is to be started: headgate-router " "$dir/screen"
  chown 0 "$dir/state"
fi

echo "# a segment that somebody writes into"
start router headgate-router -c "$dir/router.conf"
wait_for 20 ctl wait --ready -t 1
"$top_builddir/tests/flip-control" "$dir/run/control" &
flipper=$!
died=0
for _ in $(seq 40); do
  "$top_builddir/headgatectl" status >"$dir/out" 2>&1
  [ $? -lt 128 ] || died=$((died + 1))
done
kill "$flipper"
wait "$flipper" 2>/dev/null
is "does not kill who reads it" 0 "$died"

echo "# a router of another version"
cp "$dir/run/control" "$dir/control"
printf 0 | dd of="$dir/run/control" bs=1 seek=7 conv=notrunc status=none
ctl status >"$dir/screen"
ok "is told from none" grep -q "^router: running, of another version than this headgatectl" "$dir/screen"
ctl health >"$dir/out"
is "for monitoring, too" "2 a router of another version is running in $dir/run" "$? $(cat "$dir/out")"
ctl -c "$dir/router.conf" stop first
is "stop says so" "69 headgatectl: $dir/run/control: another version's" "$? $(cat "$dir/ctl.err")"
dd if="$dir/control" of="$dir/run/control" bs=1 count=8 conv=notrunc status=none

echo "# a segment that was removed under its router"
rm -f "$dir/run/control" "$dir/run/router.lock"
for command in "stop second" "start second" status "health second" "wait -t 0"; do
  # shellcheck disable=SC2086
  ctl $command >"$dir/out"
  ok "$command does not say that none runs" eval '! grep -q "no router is running\|router: not running" "$dir/out" "$dir/ctl.err"'
done


echo "# an environment"
stop "$router"
rm -rf "$dir/run" "$dir/state"
: >"$dir/headgate-router.log"
export HEADGATE_ENVIRONMENT=prod
start router headgate-router
wait_for 20 ready
ctl status >"$dir/screen"
ok "stands in front of what is printed" \
  grep -q "env HEADGATE_ENVIRONMENT=prod headgate-payment -D $dir -d" "$dir/screen"
unset HEADGATE_ENVIRONMENT
echo '{"customer_id":"A-ERROR400","transaction_type":"payment","amount":1,"payment_method":"card"}' | publish
start payment headgate-payment
ok "a worker without it rehearses no faults" wait_for 20 ctl wait --empty -t 1 payment-processing
is "the message is stored" 1 "$(payments "SELECT count(*) FROM payments WHERE status = 'completed'")"
ok "which is logged" grep -q '"worker.other_policy".*"fault_markers"' "$dir/headgate-payment.log"
stop "$payment"
stop "$router"
done_testing
