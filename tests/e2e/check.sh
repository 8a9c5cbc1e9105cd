#!/bin/bash
# Logs are checked: what is whole is called whole, what is damaged is named as the router names it, and the
# rest is saved, also when that is ended in the middle.
. "$top_srcdir/tests/lib.sh"

ctl() { "$top_builddir/headgatectl" "$@" 2>"$dir/ctl.err"; }
pay() { # pay CUSTOMER ID
  printf '{"customer_id":"%s","transaction_type":"payment","amount":1,"payment_method":"card","message_id":"%s"}\n' "$1" "$2"
}
log=$dir/state/queues/payment-processing/0000000000000001.log
place_of() { grep -abo "$1" "$log" | head -n 1 | cut -d: -f1; } # place_of TEXT: its offset in the log
flip() { # flip FILE OFFSET: changes a byte
  byte=$(od -An -tu1 -j "$2" -N 1 "$1")
  # shellcheck disable=SC2059
  printf "\\$(printf %o $((byte ^ 8)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
refused() { # the router does not start, and says why in $dir/refused
  timeout -k 10 200 "$top_builddir/headgate-router" 2>"$dir/refused"
}
one() { jq -r "select(.queue == \"$1\") | select(has(\"$2\")) | .$2" "$dir/check"; } # one QUEUE FIELD

echo "# whole"
ctl check
is "nothing ever was: that is no success" 66 $?
is "it says so" "headgatectl: no state directory $dir/state: nothing was checked" "$(cat "$dir/ctl.err")"
for command in "peek payment-processing" "peek --json payment-processing" "dead list payment-processing" \
  "dead show payment-processing" "dead redrive payment-processing" "dead purge --force payment-processing"; do
  # shellcheck disable=SC2086
  ctl $command >"$dir/text"
  is "$command: neither" "66 headgatectl: no state directory $dir/state: nothing was looked at" "$? $(cat "$dir/ctl.err")"
done
mkdir -p "$dir/state/queues"
ctl check
is "a state without a log" "66 headgatectl: no log in $dir/state/queues: nothing was checked" "$? $(cat "$dir/ctl.err")"
rm -r "$dir/state"
ctl check no-such-queue
is "a queue that is not there" 64 $?
start router headgate-router
start payment headgate-payment
wait_for 20 ready
for n in 1 2 3; do # each in a batch of its own, and settled in another
  pay A "p$n" | publish
  ok "$n are paid" ctl wait --empty -t 20
done
stop "$payment"
for n in 4 5 6 7 8; do pay B "p$n" | publish; done
ctl check
is "not beside a router" 75 $?
ok "it says so" grep -q 'a router runs' "$dir/ctl.err"
kill -STOP "$router" # it would make the lock's file again
rm "$dir/state/router.lock"
ctl check
is "nor when its lock's file was removed" 75 $?
ctl check --salvage payment-processing
is "least of all a salvage" 75 $?
kill -CONT "$router"
stop "$router"
ctl check --json >"$dir/check"
is "without a router" 0 $?
is "what there is" "true 1 5 3 1 8 0 0" "$(jq -r 'select(.queue == "payment-processing") |
  "\(.whole) \(.segments) \(.waiting) \(.settled) \(.first_sequence) \(.last_sequence) \(.torn_bytes) \(.missing)"' "$dir/check")"
is "each queue that has a log" 6 "$(wc -l <"$dir/check")"
is "the size of the files" "$(stat -c %s "$log")" "$(one payment-processing bytes)"
is "one of them" "payment-processing" "$(ctl check --json payment-processing | jq -r .queue)"
is "as text" "payment-processing: whole" "$(ctl check payment-processing | cut -d, -f1)"
ctl check >/dev/full
is "a full disk on stdout" 74 $?
cp -a "$dir/state" "$dir/whole"

echo "# where nothing can be written"
read_only() { # read_only COMMAND...: with a state that is mounted so, where that is allowed, or belongs to others
  if [ "$(id -u)" -ne 0 ]; then
    chmod 500 "$dir/state"
    "$@" 2>"$dir/ctl.err"
    set -- $?
    chmod 700 "$dir/state"
    return "$1"
  fi
  unshare -m sh -c 'mount --bind "$HEADGATE_DIR/state" "$HEADGATE_DIR/state" &&
    mount -o remount,ro,bind "$HEADGATE_DIR/state" && exec "$@"' - "$@" 2>"$dir/ctl.err"
}
if read_only sh -c '! touch "$HEADGATE_DIR/state/x"'; then
  read_only "$top_builddir/headgatectl" check >"$dir/text"
  is "with the lock's file, it checks" "0 6" "$? $(grep -c whole "$dir/text")"
  rm "$dir/state/router.lock"
  read_only "$top_builddir/headgatectl" check >"$dir/text"
  is "without, too" "0 6" "$? $(grep -c whole "$dir/text")"
  at=$(place_of '"message_id":"p5"')
  flip "$log" "$at"
  read_only "$top_builddir/headgatectl" check >"$dir/text"
  is "and it sees damage" 65 $?
  read_only "$top_builddir/headgatectl" check --salvage payment-processing >"$dir/text"
  ok "a salvage is refused" [ $? -ne 0 ]
  ok "and changes nothing" [ ! -e "$dir/state/damaged" ]
  flip "$log" "$at"
else
  echo "# skipped: no mount can be made here, and root may write everywhere"
fi
rm -f "$dir/state/router.lock"
ctl check >"$dir/text"
ok "where it can be written, no router starts meanwhile" [ -e "$dir/state/router.lock" ]

echo "# the end is gone"
at=$(place_of '"message_id":"p7"') # and with it the batch behind, which nothing names
dd if=/dev/zero of="$log" bs=512 seek=$((at / 512)) count=64 conv=notrunc status=none
ctl check --json >"$dir/check"
is "a router that ended by itself left word of it" 65 $?
is "what is missing has numbers" "7 8" \
  "$(one payment-processing missing_first) $(one payment-processing missing_last)"
refused
is "the router does not go on either" 65 $?
ok "it says why" grep -q 'it was whole when the router ended' "$dir/refused"
ctl check --salvage payment-processing >"$dir/text"
is "what is left is saved" 0 $?
ctl check >/dev/null
is "and is whole" 0 $?
rm -rf "$dir/state" && cp -a "$dir/whole" "$dir/state"

# Whatever is left of its last batch, and wherever it is cut: router and check say the same.
at=$(place_of '"message_id":"p8"')
disagree=
for off in -96 -40 -8 0 40 80 120 160; do
  rm -rf "$dir/state" && cp -a "$dir/whole" "$dir/state"
  dd if=/dev/zero of="$log" bs=1 seek=$((at + off)) count=400 conv=notrunc status=none
  refused
  router_says=$?
  ctl check >/dev/null
  [ "$router_says $?" = "65 65" ] || disagree="$disagree $off"
done
is "the last batch is cut anywhere: neither takes it for whole" "" "$disagree"
ctl check --salvage payment-processing >"$dir/text"
is "and it can be saved" 0 $?
start router headgate-router
ok "the router goes on with that" wait_for 20 ready
stop "$router"
rm -rf "$dir/state" && cp -a "$dir/whole" "$dir/state"

echo "# torn: the router was killed"
: >"$dir/state/known/payment-processing.log"
rm -rf "$dir/whole" && cp -a "$dir/state" "$dir/whole"
at=$(place_of '"message_id":"p8"')
flip "$log" "$at"
ctl check --json >"$dir/check"
is "the last batch without its end is no damage" 0 $?
torn=$(one payment-processing torn_bytes)
ok "it says what will be cut" [ "$torn" -gt 0 ]
: >"$dir/headgate-router.log"
start router headgate-router
wait_for 20 ready
stop "$router"
is "as many bytes as the router cuts" "$torn" "$(grep '"log.torn_batch_cut"' "$dir/headgate-router.log" | jq .bytes)"
is "the message is gone" 7 "$(ctl check --json payment-processing | jq .last_sequence)"

echo "# damaged"
at=$(place_of '"message_id":"p5"')
flip "$log" "$at"
refused
is "the router does not start" 65 $?
ok "it says what to type" grep -q "headgatectl -D $dir check" "$dir/refused"
ctl check --json >"$dir/check"
is "damage" 65 $?
is "in one queue" payment-processing "$(jq -r 'select(.whole == false) | .queue' "$dir/check")"
is "at one place" 1 "$(jq -r .file "$dir/check" | grep -vc null)"
file=$(one payment-processing file)
offset=$(one payment-processing offset)
ok "the same as the router's: $file, $offset" grep -qF "$file: offset $offset:" "$dir/refused"
ok "the byte that was changed is in it" [ "$offset" -le "$at" -a "$at" -lt $((offset + $(one payment-processing length))) ]
is "one message is lost" "5 5" "$(one payment-processing missing_first) $(one payment-processing missing_last)"
is "the others are not" "3 3" "$(one payment-processing waiting) $(one payment-processing settled)"
is "the page has each field" "" "$(jq -r 'keys[]' "$dir/check" | undocumented headgatectl-check.1)"
ctl check >"$dir/text"
is "as text" 65 $?
ok "file and offset, too" grep -qF "$file: offset $offset, " "$dir/text"
ctl check bank-account-setup
is "the other queues are whole" 0 $?
rm -rf "$dir/state"
cp -a "$dir/whole" "$dir/state"
truncate -s 9000 "$log"
refused
is "a short file" 65 $?
ctl check --json >"$dir/check"
is "is damage" 65 $?
is "from its end on" 9000 "$(one payment-processing offset | head -n 1)"
rm -rf "$dir/state"
cp -a "$dir/whole" "$dir/state"
flip "$log" 30
refused
is "a segment's header" 65 $?
ctl check --json >"$dir/check"
is "is damage, too" 65 $?
is "but no message is lost" "5 3 0" "$(one payment-processing waiting) $(one payment-processing settled) $(one payment-processing missing)"
ctl check --json bank-account-setup >"$dir/check"
is "and nothing of another queue" 0 $?

echo "# salvage"
again() { # begin with the whole state and a router's new directory
  rm -rf "${dir:?}/state" "$dir/run"
  cp -a "$dir/whole" "$dir/state"
  : >"$dir/headgate-router.log"
}
drain() { # all that waits is handled; $router and $payment are set
  start router headgate-router
  start payment headgate-payment
  wait_for 20 ready && ctl wait --empty -t 20 payment-processing
}
paid() { payments 'SELECT group_concat(message_id) FROM (SELECT message_id FROM payments ORDER BY rowid)'; }
numbers() { payments 'SELECT count(*) FROM payments WHERE sequence > 4294967296'; }
ctl check --salvage
is "which queue" 64 $?
again
ctl check --salvage payment-processing >"$dir/text"
is "what is whole is left alone" 0 $?
is "it says so" "1 payment-processing: whole" "$(wc -l <"$dir/text") $(cut -d, -f1 "$dir/text")"
ok "nothing is set aside" [ ! -e "$dir/state/damaged" ]
flip "$log" "$(place_of '"message_id":"p5"')"
cp -a "$dir/state/queues/payment-processing" "$dir/damaged"
ctl check --json >"$dir/before"
"$top_builddir/headgatectl" check --salvage --json payment-processing >/dev/full 2>"$dir/ctl.err"
is "where nobody can be told" 74 $?
ok "nothing is changed" [ ! -e "$dir/state/damaged" ]
ctl check --salvage --json payment-processing >"$dir/check"
is "it is salvaged" 0 $?
is "what is lost is listed as before" "$(grep payment-processing\" "$dir/before")" "$(sed '$d' "$dir/check")"
is "four of five are left" 4 "$(one payment-processing salvaged)"
is "the page has each field" "" "$(jq -r 'keys[]' "$dir/check" | undocumented headgatectl-check.1)"
aside=$(one payment-processing aside)
ok "the old log is kept as it was: $aside" diff -r "$dir/damaged" "$aside"
ctl check >"$dir/text"
is "all is whole" 0 $?
sequence=$(one payment-processing next_sequence)
ok "sequences go on far above" [ "$sequence" -gt 4294967296 ]
ctl check --salvage payment-processing >"$dir/text"
is "once is enough" "0 1" "$? $(find "$dir/state/damaged" -mindepth 1 -maxdepth 1 | wc -l)"
is "what waits" p4,p6,p7,p8 "$(ctl peek --json payment-processing | jq -r .message_id | paste -s -d,)"
ok "a router starts, and all is handled" drain
pay B p9 | publish
ok "messages are taken, too" wait_for 20 eval '[ "$(numbers)" = 1 ]'
is "each is paid once but the lost one" p1,p2,p3,p4,p6,p7,p8,p9 "$(paid)"
{ pay A p1; pay B p4; } | publish --receipts >"$dir/receipts"
is "ids are remembered" 2 "$(grep -c '"duplicate":true' "$dir/receipts")"
is "the counters hold" "0 8 0" "$(ctl status --json payment-processing | jq -r '.queues[] | "\(.depth) \(.done) \(.failed)"')"
stop "$payment"
stop "$router"
ctl check >"$dir/text"
is "all is whole still" 0 $?

echo "# a settlement that is lost"
again
rm -rf "$dir/state/stores"
cp -a "$dir/whole/stores" "$dir/state/"
settled=$(($(place_of '"message_id":"p3"') / 512 * 512 + 512)) # the batch behind it settles it
while [ "$(dd if="$log" bs=1 skip=$((settled + 12)) count=1 status=none | od -An -tu1)" -ne 2 ]; do
  settled=$((settled + 512))
done
flip "$log" $((settled + 44))
ctl check --json >"$dir/check"
is "is damage" 65 $?
ok "more wait than did" [ "$(one payment-processing waiting)" -gt 5 ]
is "no message is missing" 0 "$(one payment-processing missing)"
ctl check --salvage payment-processing >"$dir/text"
is "it is salvaged" 0 $?
ok "all is handled" drain
is "what was paid is not paid again" p1,p2,p3,p4,p5,p6,p7,p8 "$(paid)"
stop "$payment"
stop "$router"

echo "# dead letters"
again
rm -rf "$dir/state/stores"
start router headgate-router
start payment headgate-payment
wait_for 20 ready
dead() { [ "$(ctl dead list --json payment-processing | wc -l)" = "$1" ]; }
for n in 1 2 3; do # each in a batch of its own
  pay D-ERROR400 "d$n" | publish
  ok "$n are dead" wait_for 20 dead $n
done
ctl wait --empty -t 20 payment-processing
stop "$payment"
stop "$router"
ctl dead show --json payment-processing d2 >"$dir/dead"
log=$dir/state/queues/payment-processing-dlq/0000000000000001.log
flip "$log" "$(place_of '"message_id":"d1"')"
ctl check --salvage --json payment-processing-dlq >"$dir/check"
is "a dead-letter queue is salvaged" "0 1 1" "$? $(one payment-processing-dlq missing_first) $(one payment-processing-dlq missing_last)"
is "a dead letter keeps its origin" "$(jq -c . "$dir/dead")" "$(ctl dead show --json payment-processing d2)"
: >"$dir/headgate-router.log"
start router headgate-router
ok "a router starts" wait_for 20 ready
is "and gives dead letters back" "payment-processing-dlq: 2 moved to payment-processing" "$(ctl dead redrive payment-processing)"
is "in order" d2,d3 "$(ctl peek --json payment-processing | jq -r .message_id | paste -s -d,)"
stop "$router"
log=$dir/state/queues/payment-processing/0000000000000001.log

echo "# gone"
gone() { # gone WHAT: no router starts, and everybody says why
  refused
  is "$1: the router does not start" 65 $?
  ok "it says what is gone" grep -q "^headgate-router: $dir/state/queues/payment-processing: its log is gone: .*headgatectl -D $dir check" "$dir/refused"
  ctl check >"$dir/text"
  is "so does check" "65 payment-processing: GONE" "$? $(grep GONE "$dir/text" | cut -d: -f1,2)"
  ctl check --json payment-processing >"$dir/check"
  is "as JSON" "65 false $dir/state/queues/payment-processing" "$? $(one payment-processing whole) $(one payment-processing file)"
  ctl status --json >"$dir/status"
  ok "and status" eval 'jq -r ".queues[1].error" "$dir/status" | grep -q "its log is gone"'
}
again
rm "$dir"/state/queues/payment-processing/*.log
gone "its files"
is "a salvage has nothing to work on" 65 "$(ctl check --salvage payment-processing >"$dir/text"; echo $?)"
again
rm -r "$dir/state/queues/payment-processing"
gone "its directory"
again
rm "$dir"/state/queues/payment-processing/*.log "$dir/state/known/payment-processing.log"
: >"$dir/state/queues/payment-processing/0000000000000001.ids"
gone "its files, but for ids"
again
is "put back, it has all that it had" p4,p5,p6,p7,p8 "$(ctl peek --json payment-processing | jq -r .message_id | paste -s -d,)"
again
rm -r "$dir/state/known"
: >"$dir/headgate-router.log"
start router headgate-router
ok "a log from before there were such names is taken" wait_for 20 ready
ok "and known from then on" [ -e "$dir/state/known/payment-processing.log" ]
stop "$router"

foreign() { # foreign WHAT: another log is in the place of the queue's
  refused
  is "$1: the router does not start" 65 $?
  ok "it says so" grep -q "queues/payment-processing: this is not the log that was here" "$dir/refused"
  ctl check payment-processing >"$dir/text"
  is "so does check" "65 payment-processing: GONE: this is not the log that was here" "$? $(grep GONE "$dir/text" | cut -d: -f1-3)"
  ctl status --json >"$dir/status"
  ok "and status" eval 'jq -r ".queues[1].error" "$dir/status" | grep -q "not the log that was here"'
  is "and peek" 65 "$(ctl peek payment-processing >"$dir/text"; echo $?)"
}
again
start router headgate-router # whose end is in the registry
wait_for 20 ready
stop "$router"
mv "$dir/state" "$dir/ended"
: >"$dir/headgate-router.log"
rm -rf "$dir/run"
start router headgate-router # another instance
wait_for 20 ready
stop "$router"

cp -a "$dir/ended/known/payment-processing.log" "$dir/state/known/"
foreign "the log of another instance"
rm "$dir/state/known/payment-processing.log" # as check says
is "without the entry check takes it" 0 "$(ctl check payment-processing >"$dir/text"; echo $?)"
again
mv "$dir/state/queues/payment-processing" "$dir/mine"
mv "$dir/state/queues/payment-processing-dlq" "$dir/state/queues/payment-processing"
mv "$dir/mine" "$dir/state/queues/payment-processing-dlq"
rm -r "$dir/state/known"
foreign "the log of another queue"
again
: >"$dir/headgate-router.log"
start router headgate-router
wait_for 20 ready
stop "$router"
mkdir "$dir/away"
mv "$dir/state/queues/payment-processing" "$dir/state/known/payment-processing.log" "$dir/away" # as check says
again_router() {
  : >"$dir/headgate-router.log"
  start router headgate-router
  wait_for 20 ready
}
ok "with both away the router begins a new log" again_router
is "with nothing in it" "" "$(ctl peek --json payment-processing)"
stop "$router"

echo "# the last batch is damaged, and the router left word of it"
rm -rf "${dir:?}/state" "$dir/run"
: >"$dir/headgate-router.log"
start router headgate-router
wait_for 20 ready
for i in $(seq 19); do pay E "last$i"; done | publish
stop "$router"
is "before, they wait" 19 "$(ctl peek -n 100 --json payment-processing | wc -l)"
flip "$log" "$(place_of '"message_id":"last19"')"
ctl check payment-processing >"$dir/text"
is "check finds it" 65 $?
ctl peek payment-processing >"$dir/text"
is "peek does not say that there is nothing" 65 $?
ok "but what is the matter, and what to type" eval 'grep -q "its last batches are damaged or missing" "$dir/ctl.err" &&
  grep -q "headgatectl -D $dir check payment-processing" "$dir/ctl.err"'
ctl status >"$dir/text"
is "nor does status" 65 $?
ok "nothing is said of how many wait" grep -q '^payment-processing *? *? ' "$dir/text"
ok "and what to type next" grep -q "^    next:    headgatectl -D $dir check payment-processing\$" "$dir/text"

echo "# killed in the middle"
HEADGATE_CRASH_LIST=$dir/places
export HEADGATE_CRASH_LIST
again
flip "$log" "$(place_of '"message_id":"p5"')"
"$top_builddir/tests/faults/headgatectl" check --salvage payment-processing >"$dir/text" 2>"$dir/ctl.err"
unset HEADGATE_CRASH_LIST
places=$(wc -l <"$dir/places")
ok "there are $places places to die at" [ "$places" -ge 5 ]
for place in $(seq "$places"); do
  name=$(sed -n "${place}p" "$dir/places")
  again
  flip "$log" "$(place_of '"message_id":"p5"')"
  HEADGATE_CRASH=$place "$top_builddir/tests/faults/headgatectl" check --salvage payment-processing \
    >"$dir/text" 2>"$dir/ctl.err"
  is "$name: killed" 137 $?
  ctl check payment-processing >"$dir/text"
  status=$?
  if diff -r "$dir/damaged" "$dir/state/queues/payment-processing" >"$dir/text"; then
    is "the old log is there, as it was" 65 $status
  else
    is "the new log is there, whole" 0 $status
  fi
  ctl check --salvage payment-processing >"$dir/text"
  is "once more" 0 $?
  ok "the old log is kept" eval 'for kept in "$dir"/state/damaged/*; do diff -r "$dir/damaged" "$kept" && break; done >"$dir/text"'
  ok "nothing unfinished is left" [ ! -e "$dir/state/damaged/payment-processing.new" ]
  ok "all is handled" drain
  is "and nothing twice" p1,p2,p3,p4,p6,p7,p8 "$(paid)"
  stop "$payment"
  stop "$router"
done

echo "# much is damaged"
rm -rf "${dir:?}/state" "$dir/run"
: >"$dir/headgate-router.log"
start router headgate-router
wait_for 20 ready
for n in $(seq 500); do pay M "m$n"; done | publish
stop "$router"
for at in $(grep -abo '"message_id":"m[0-9]*0"' "$log" | cut -d: -f1 | head -n 30); do flip "$log" "$at"; done
ctl check payment-processing >"$dir/text"
is "as text" 65 $?
is "the first places stand there, and how many more" "20 ... and 10 more bad places (-v)" \
  "$(grep -c '\.log: offset' "$dir/text") $(sed -n 's/^ *\(.* bad places (-v)\)$/\1/p' "$dir/text")"
is "and the first that are missing, and how many more" "20 ... and 10 more; 30 messages are missing in all (-v)" \
  "$(grep -c 'missing: sequence' "$dir/text") $(sed -n 's/^ *\(.* in all (-v)\)$/\1/p' "$dir/text")"
ctl check -v payment-processing >"$dir/text"
is "-v tells all" "65 30 30" "$? $(grep -c '\.log: offset' "$dir/text") $(grep -c 'missing: sequence' "$dir/text")"
ctl check --json payment-processing >"$dir/check"
is "JSON, too" "65 30 30" "$? $(one payment-processing offset | wc -l) $(one payment-processing missing_first | wc -l)"
ctl check --salvage payment-processing >"$dir/text"
is "and a salvage: nobody tells it again" "0 30 30" \
  "$? $(grep -c '\.log: offset' "$dir/text") $(grep -c 'missing: sequence' "$dir/text")"

echo "# a queue that is retired, and put back"
rm -rf "${dir:?}/state" "$dir/run"
start router headgate-router
start payment headgate-payment
start account headgate-bank-account
wait_for 20 ready
for n in 1 2 3; do # so many batches that the other queue's numbers stay behind
  pay C "r$n" | publish
  ctl wait --empty -t 20
done
stop "$payment"
stop "$account"
stop "$router"
ctl config | awk '/^queue payment-processing/ { left_out = 1 } !left_out { print } /^}/ { left_out = 0 }' >"$dir/less.conf"
: >"$dir/headgate-router.log"
start router headgate-router -c "$dir/less.conf"
wait_for 20 ready
echo '{"customer_id":"C","transaction_type":"bank_account_setup","routing_number":"123456789","account_number":"1","message_id":"torn-one"}' |
  publish -c "$dir/less.conf"
kill -KILL "$router"
wait "$router" 2>/dev/null
log=$dir/state/queues/bank-account-setup/0000000000000001.log
flip "$log" "$(place_of '"message_id":"torn-one"')"
: >"$dir/headgate-router.log"
start router headgate-router
ok "what was torn meanwhile is no damage when it is back" wait_for 5 ready
stop "$router"

echo "# a log that the configuration does not have"
rm -rf "${dir:?}/state" "$dir/run"
: >"$dir/headgate-router.log"
start router headgate-router
wait_for 20 ready
for n in 1 2 3; do pay C "p$n" | publish; done
stop "$router"
printf 'topic t { group_by = {g} }\nqueue q { topic = t }\n' >"$dir/other.conf"
ctl -c "$dir/other.conf" check >"$dir/text"
is "whole" "0 6" "$? $(grep -c ': whole' "$dir/text")"
ok "with its messages it keeps the router from starting, which is said" \
  grep -q "not in the configuration, and the router does not start: .* $dir/state/queues/payment-processing away" "$dir/text"
log=$dir/state/queues/payment-processing/0000000000000001.log
flip "$log" "$(place_of '"message_id":"p2"')"
: >"$dir/state/queues/file" # no log
for conf in "$dir/less.conf" "$dir/other.conf"; do
  timeout -k 10 200 "$top_builddir/headgate-router" -c "$conf" 2>"$dir/refused"
  is "the router does not start with it" 65 $?
  ok "and says where to go on" grep -q "headgatectl -c $conf -D $dir check" "$dir/refused"
  ctl -c "$conf" check >"$dir/text"
  is "check sees it" "65 payment-processing: DAMAGED" "$? $(grep -o '^payment-processing: [A-Z]*' "$dir/text")"
  ok "and says how to go on" grep -q "headgatectl -c $conf -D $dir check --salvage payment-processing\$" "$dir/text"
  is "by its name" "65 1" "$(ctl -c "$conf" check payment-processing >"$dir/text"; echo $?) $(grep -c '^[a-z]' "$dir/text")"
done
ctl -c "$dir/other.conf" check payment-processin
is "a log that is not there" 64 $?
ctl -c "$dir/other.conf" check ../queues/payment-processing
is "a name that is none" 64 $?
ctl -c "$dir/other.conf" check --salvage payment-processing >"$dir/text"
is "salvage" 0 $?
ctl -c "$dir/other.conf" check payment-processing >"$dir/text"
is "two messages are left" "0 payment-processing: whole 2 messages wait" \
  "$? $(sed -n 's/^\(payment[^,]*\),.*; \([0-9]* messages wait\).*/\1 \2/p' "$dir/text")"
start router headgate-router
ok "and the router starts when the queue is back" wait_for 20 ready
is "with these" "p1 p3" "$(ctl peek --json payment-processing | jq -r .message_id | paste -s -d' ')"
done_testing
