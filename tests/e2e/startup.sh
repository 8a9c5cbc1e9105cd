#!/bin/bash
# Every program may be started first or last; a second worker stands by; directories that cannot be.
. "$top_srcdir/tests/lib.sh"

message='{"customer_id":"C","transaction_type":"payment","amount":1,"payment_method":"x","message_id":"%s"}\n'
start payment headgate-payment
start account headgate-bank-account
printf "$message" one | publish &
publisher=$!
ok "a worker waits for its router" wait_for 20 grep -q '"worker.waiting"' "$dir/headgate-payment.log"
start router headgate-router
wait "$publisher"
is "a publisher waits for its router" 0 $?
ok "and the message is handled" wait_for 20 stored 0 1

start standby headgate-payment
ok "a second worker stands by" wait_for 20 grep -q '"worker.standby"' "$dir/headgate-payment.log"
kill -KILL "$payment"
wait "$payment" 2>/dev/null
printf "$message" two | publish
ok "and takes over when the first dies" wait_for 20 stored 0 2

"$top_builddir/headgate-router" 2>"$dir/err"
is "a second router is refused" 75 $?
ok "with a reason" grep -q 'another router runs here' "$dir/err"
: >"$dir/file"
"$top_builddir/headgate-router" -D "$dir/file/x" 2>"$dir/err"
is "a directory that cannot be made" 73 $?
ok "what is in the way is named" grep -q "$dir/file: not a directory" "$dir/err"
deep=$dir/$(printf '%0100d' 0)
"$top_builddir/headgate-router" -D "$deep" 2>"$dir/err"
is "a socket's path too long" 78 $?
ok "is explained" grep -q '107 bytes' "$dir/err"
echo 'queue x { topic = nothing }' >"$dir/conf"
"$top_builddir/headgate-router" -c "$dir/conf" -D "$dir/other" 2>"$dir/err"
is "a bad configuration" 78 $?
ok "names file and line" grep -q "$dir/conf:1: queue x: there is no topic \"nothing\"" "$dir/err"
mkfifo "$dir/unread"
exec 4<>"$dir/unread" 3>"$dir/unread" 4<&- # nobody has it open for reading
for program in headgate-router headgate-payment headgate-bank-account headgate-subscription-manager headgate-publish headgatectl; do
  for option in -V -h; do
    "$top_builddir/$program" $option >/dev/full 2>"$dir/err"
    is "$program $option fails on a full disk" "74 $program: stdout: No space left on device" "$? $(cat "$dir/err")"
    "$top_builddir/$program" $option >&- 2>"$dir/err"
    is "and where there is no stdout" 74 $?
  done
  (trap '' PIPE && exec "$top_builddir/$program" -V) >&3 2>"$dir/err"
  is "quietly where nobody reads it" "74 " "$? $(cat "$dir/err")"
  "$top_builddir/$program" --no-such-option >/dev/null 2>&1
  is "$program refuses an option it does not know" 64 $?
  is "$program tells its version" "$program 0.1.0" "$("$top_builddir/$program" -V)"
done

"$top_builddir/headgate-payment" -d --invoke 2>"$dir/err" </dev/null
is "an invocation has no background" "64 headgate-payment: --invoke handles one message here: not with -d or -j" "$? $(cat "$dir/err")"

echo "# a store that is none"
mkdir -p "$dir/other/state/stores"
chmod 700 "$dir/other" "$dir/other/state"
echo "this is no database, and long enough for SQLite to see that it is none of its own" >"$dir/other/state/stores/payment-processing.db"
timeout -k 10 100 "$top_builddir/headgate-payment" -D "$dir/other" 2>"$dir/none"
is "a worker does not try again and again" 73 $?
ok "it says which file, and why" grep -q 'payment-processing.db: store: file is not a database' "$dir/none"

echo "# in the background"
export HEADGATE_DIR="$dir/behind"
mkdir -m 700 "$HEADGATE_DIR"
# What reads their output sees its end: nobody keeps it.
"$top_builddir/headgate-router" -d 2>>"$dir/behind.log" | timeout -k 10 200 cat >"$dir/out"
is "a router that is ready leaves its output" "0 0" "${PIPESTATUS[*]}"
"$top_builddir/headgate-payment" -d 2>>"$dir/behind.log" | timeout -k 10 200 cat >"$dir/out"
is "so does a worker" "0 0" "${PIPESTATUS[*]}"
ok "it is attached" "$top_builddir/headgatectl" wait --workers -t 20 payment-processing
worker=$("$top_builddir/headgatectl" status --json payment-processing | jq '.queues[0].workers[0].pid')
kill -KILL "$worker"
another() { [ "$("$top_builddir/headgatectl" status --json payment-processing | jq '.queues[0].workers[0].pid')" != "$worker" ]; }
wait_for 20 another
ok "when it dies there is another" "$top_builddir/headgatectl" wait --workers -t 20 payment-processing
ok "which does not miss who started it" eval '! grep -q "cannot tell" "$dir/behind.log"'
for pid in $(grep -lz "^HEADGATE_DIR=$HEADGATE_DIR\$" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3); do
  kill -TERM "$pid" 2>/dev/null
done
# What is to be typed next finds nobody there.
export HEADGATE_DIR="$dir/short"
mkdir -p -m 700 "$HEADGATE_DIR" "$HEADGATE_DIR/state"
echo short >"$HEADGATE_DIR/state/dedup.key"
statuses() {
  for i in $(seq 60); do
    "$top_builddir/headgate-router" -d 2>>"$dir/short.log"
    echo "$? $(flock -n "$HEADGATE_DIR/state/router.lock" echo free)"
  done | sort | uniq -c | xargs
}
is "a router that fails is gone before it is said" "60 65 free" "$(statuses)"
done_testing
