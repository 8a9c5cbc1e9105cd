#!/bin/bash
# Who owns the standard descriptors: readers that stop reading, descriptors that are closed, held by others, or do not
# block; programs in the background keep nothing of who started them, and have a log.
. "$top_srcdir/tests/lib.sh"

nonblock=$top_builddir/tests/nonblock
ctl=$top_builddir/headgatectl
message='{"customer_id":"C","transaction_type":"payment","amount":1,"payment_method":"x","message_id":"%s"}\n'
base() { # base NAME: a directory of its own
  kill_all
  export HEADGATE_DIR="$dir/$1"
  mkdir -m 700 "$HEADGATE_DIR"
}
kill_all() {
  for pid in $(jobs -pr); do
    kill -KILL "$pid" 2>/dev/null
  done
  wait 2>/dev/null
  for pid in $(grep -lz "^HEADGATE_DIR=$dir" /proc/[0-9]*/environ 2>/dev/null | sed 's|/proc/||; s|/environ||'); do
    kill -KILL "$pid" 2>/dev/null
  done
}
magic() { head -c 6 "$HEADGATE_DIR/run/control"; }
rows() { sqlite3 -cmd '.timeout 5000' "file:$HEADGATE_DIR/state/stores/payment-processing.db?mode=ro" 'SELECT count(*) FROM payments'; }
handled() { [ "$(rows)" = "$1" ]; }
router_pid() { "$ctl" status --json | jq .router.pid; }
worker_pid() { "$ctl" status --json payment-processing | jq '.queues[0].workers[0].pid'; }

echo "# a reader of standard error that does not read"
base stalled
mkfifo "$dir/stalled.err"
exec 5<>"$dir/stalled.err"
head -c 65536 /dev/zero >&5 # as much as it holds
"$top_builddir/headgate-router" 2>"$dir/stalled.err" &
router=$!
"$top_builddir/headgate-payment" 2>"$dir/stalled.err" &
payment=$!
ok "the router takes messages all the same" "$ctl" wait -t 60
printf "$message" one | publish
is "and acknowledges" 0 $?
ok "a worker handles them" wait_for 60 handled 1
head -c 65536 <&5 >/dev/null
told() { [ "$(jq -r 'select(.event=="log.dropped" and .lines>=1).service' <"$dir/stalled.out" 2>/dev/null | sort -u | xargs)" = "headgate-payment headgate-router" ]; }
cat "$dir/stalled.err" >"$dir/stalled.out" 5>&- &
reader=$!
ok "which say how many lines nobody read, before there are others" wait_for 20 told
kill -TERM "$payment" "$router"
wait "$payment"
is "a worker ends" 0 $?
wait "$router"
is "and so does a router" 0 $?
exec 5>&-
wait "$reader"

echo "# descriptors that are closed at the start"
base closed
timeout -k 5 120 "$top_builddir/headgate-router" -d <&- >&- 2>&-
is "a router without any goes to the background" "0 0" "$? $("$ctl" wait -t 60 >&2; echo $?)"
is "and does not log into its locks" "" "$(grep -h router.ready "$HEADGATE_DIR/state/router.lock" "$HEADGATE_DIR/run/router.lock")"
timeout -k 5 120 "$top_builddir/headgate-payment" -d <&- >&- 2>&-
is "so does a worker" 0 $?
for how in '0<&-' '>&-' '2>&-' '<&- >&- 2>&-'; do
  for command in "headgatectl stop payment-processing" "headgatectl start payment-processing" "headgatectl status" \
    "headgatectl config" "headgate-subscription-manager --invoke" "headgate-publish"; do
    eval "timeout -k 5 60 $top_builddir/$command </dev/null 2>/dev/null >/dev/null $how"
    rc=$?
    ok "$command $how does not crash: $rc" [ "$rc" -lt 124 ]
    is "and leaves the control segment alone" HGCTRL "$(magic)"
  done
done
ok "the router is found" "$ctl" wait -t 20

echo "# what a program in the background keeps"
base kept
mkdir "$dir/place"
"$ctl" config >"$dir/place/a.conf"
cd "$dir/place" || exit 1
out=$(unset HEADGATE_DIR; timeout -k 5 120 flock -n "$dir/cron" "$top_builddir/headgate-router" -d -c a.conf -D ../kept 7<"$dir/place/a.conf" 2>&1)
is "a command substitution returns with the router's output" "0 " "$? $out"
out=$(timeout -k 5 120 flock -n "$dir/cron2" "$top_builddir/headgate-payment" -d -c a.conf -D ../kept --log ../payment.own 2>&1)
is "and a worker's" "0 " "$? $out"
cd / || exit 1
ok "locks of who started it are free" flock -n "$dir/cron" flock -n "$dir/cron2" true
"$ctl" wait --workers -t 60 payment-processing
for pid in $(router_pid) $(worker_pid) $(ps -o ppid= -p "$(worker_pid)"); do
  is "the start directory is left" / "$(readlink "/proc/$pid/cwd")"
  is "no descriptor is the caller's" "" "$(ls -l "/proc/$pid/fd" | grep -E "$dir/(cron|place)|pipe:")"
done
log=$HEADGATE_DIR/state/headgate-router.log
has() { grep -q "\"event\":\"$1\"" "$2"; }
ok "the router's log is in the state directory" has router.ready "$log"
ok "the worker's is where --log says" has worker.attached "$dir/payment.own"
is "only its user reads it" 600 "$(stat -c %a "$log")"
for signal in HUP USR1; do
  mv "$log" "$log.$signal"
  mv "$dir/payment.own" "$dir/payment.$signal"
  kill -$signal "$(router_pid)" "$(ps -o ppid= -p "$(worker_pid)" | tr -d ' ')"
  ok "SIG$signal has the router open its log again" wait_for 30 test -e "$log"
  ok "and the worker" wait_for 30 test -e "$dir/payment.own"
  moved() { ! ls -l "/proc/$(worker_pid)/fd" | grep -q "payment\.$signal"; }
  ok "which tells its child" wait_for 30 moved
done
worker=$(worker_pid)
kill -KILL "$worker"
ok "and write there" wait_for 60 has worker.died "$dir/payment.own"
ok "what follows, too" wait_for 60 has worker.attached "$dir/payment.own"
kill -TERM "$(router_pid)"
ok "so does the router" wait_for 60 has router.stopped "$log"
ok "but not in the old file" eval '! has router.stopped "$log.HUP"'

echo "# in the background, and nothing to be ready for"
base alone
"$top_builddir/headgate-payment" -d --wait 200ms 2>"$dir/err" >"$dir/out"
is "-d waits no longer than --wait" "75 headgate-payment: not ready after 0.2 s: it goes on in the background, and $HEADGATE_DIR/state/headgate-payment.log says why" "$? $(cat "$dir/err")"
ok "which is so" wait_for 60 has worker.waiting "$HEADGATE_DIR/state/headgate-payment.log"
"$top_builddir/headgate-router" -d
is "a router comes" 0 $?
ok "and the worker attaches" "$ctl" wait --workers -t 60 payment-processing
"$top_builddir/headgate-router" -d 2>"$dir/err"
is "what fails in the background is said in the foreground" "75 1" "$? $(grep -c 'another router runs here' "$dir/err")"
"$top_builddir/headgate-payment" -d --log "$dir/none/log" 2>"$dir/err"
is "a log that cannot be" "73 headgate-payment: $dir/none/log: No such file or directory" "$? $(cat "$dir/err")"

mkfifo "$dir/alone.err"
exec 5<>"$dir/alone.err"
head -c 65536 /dev/zero >&5
timeout -k 5 60 "$top_builddir/headgate-bank-account" -d -D "$dir/nowhere" --wait 200ms 2>"$dir/alone.err"
is "-d does not wait for who does not read its errors" 75 $?
exec 5<&-

echo "# a reader that goes"
for i in $(seq 20000); do printf "$message" "r$i"; done >"$dir/in"
"$top_builddir/headgate-publish" --receipts <"$dir/in" 2>"$dir/err" | head -n 1 >"$dir/out"
is "publishing stops" 74 "${PIPESTATUS[0]}"
ok "and says why" grep -q 'stdout: Broken pipe: stopped' "$dir/err"
ok "and how much is durable" grep -qE '^headgate-publish: [0-9]+ lines are durable; (the first that is not is stdin:[0-9]+|what is behind them was not sent)$' "$dir/err"
"$top_builddir/headgate-publish" --receipts <"$dir/in" 2>"$dir/err" >/dev/full
is "likewise on a full disk" "74 1 1" "$? $(grep -c 'stdout: No space left on device: stopped' "$dir/err") $(grep -c 'lines are durable;' "$dir/err")"
"$top_builddir/headgate-publish" --receipts <"$dir/in" 2>"$dir/err" >"$dir/out"
is "the same lines, sent again, are all answered" "0 20000" "$? $(wc -l <"$dir/out")"

echo "# output that does not block"
base slow
{
  echo 'topic t { group_by = {customer_id} }'
  for i in $(seq 10 39); do
    printf "queue q-%d { topic = t  filter_policy = '{\"%0300d\": [\"x\"]}' }\n" "$i" "$i"
  done
} >"$dir/many.conf"
"$ctl" -c "$dir/many.conf" config >"$dir/whole"
ok "there is more of it than a pipe holds" [ "$(stat -c %s "$dir/whole")" -gt 8192 ]
asleep() { case $(sed 's/.*) \(.\) .*/\1/' "/proc/$1/stat" 2>/dev/null) in S | '') ;; *) false ;; esac }
mkfifo "$dir/pipe"
"$nonblock" "$ctl" -c "$dir/many.conf" config >"$dir/pipe" &
writer=$!
exec 6<"$dir/pipe"
wait_for 20 asleep "$writer" # or it has ended
cat <&6 >"$dir/got"
exec 6<&-
wait "$writer"
is "all of it arrives" 0 $?
ok "as it would elsewhere" cmp "$dir/whole" "$dir/got"

echo "# signals that mean nothing"
"$top_builddir/headgate-router" 2>"$dir/router.err" &
router=$!
"$top_builddir/headgate-payment" 2>"$dir/payment.err" &
payment=$!
"$ctl" wait --workers -t 60 payment-processing
kill -HUP "$router" "$payment" "$(worker_pid)"
kill -USR1 "$router" "$payment" "$(worker_pid)"
before=$(worker_pid)
printf "$message" hup | publish
ok "SIGHUP and SIGUSR1 end nothing that logs to standard error" wait_for 60 handled 1
is "and nobody was started again" "$before 0" "$(worker_pid) $(grep -c worker.died "$dir/payment.err")"
stop "$payment"
stop "$router"

echo "# signals that whoever started it had blocked or ignored"
base blocked
inherited="env --block-signal=TERM,INT,CHLD,HUP,ALRM --ignore-signal=CHLD,ALRM"
$inherited timeout -k 5 120 "$top_builddir/headgate-router" -d
is "a router goes to the background" 0 $?
$inherited "$top_builddir/headgate-payment" 2>"$dir/payment.err" &
payment=$!
"$ctl" wait --workers -t 60 payment-processing
kill -KILL "$(worker_pid)"
ok "a worker sees its child die" wait_for 60 grep -q worker.died "$dir/payment.err"
ok "and starts another" "$ctl" wait --workers -t 60 payment-processing
router=$(router_pid)
kill -TERM "$payment" "$router"
ended() { ! kill -0 "$1"; }
ok "SIGTERM ends the worker" wait_for 60 ended "$payment"
ok "and the router" wait_for 60 ended "$router"

echo "# process 1"
if unshare --pid --fork --mount-proc true 2>/dev/null; then
  base init
  : >"$dir/init.log"
  unshare --pid --fork --kill-child "$top_builddir/headgate-router" 2>>"$dir/init.log" &
  outer=$!
  ok "a router is process 1 of a container" "$ctl" wait -t 60
  init=$(pgrep -P "$outer")
  orphans() { ps -o stat=,comm= --ppid "$init" | grep "$1"; }
  nsenter -t "$init" -p sh -c '(sleep 0.1; :) & exec true'
  none() { ! orphans "^S.*sh$" >/dev/null && ! orphans sleep >/dev/null; }
  ok "what is left to it ends" wait_for 20 none
  is "and is reaped" "" "$(orphans '^Z')"
  kill -TERM "$init"
  wait "$outer"
  is "and it ends when it is told to" 0 $?
  ok "in order" has router.stopped "$dir/init.log"
  unshare --pid --fork --kill-child "$ctl" no-such-command 2>/dev/null
  is "its status is the program's" 64 $?
else
  echo "# no namespaces here: not tried"
fi
done_testing
