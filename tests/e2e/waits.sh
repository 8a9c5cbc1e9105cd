#!/bin/bash
# Nobody waits for ever, and SIGTERM ends every wait: for a router that hangs, for a lock that is kept, for a child that does
# not stir, for a reader that does not read.
. "$top_srcdir/tests/lib.sh"

ctl=$top_builddir/headgatectl
message='{"customer_id":"C","transaction_type":"payment","amount":1,"payment_method":"x","message_id":"%s"}\n'
cat >"$dir/conf" <<'EOF'
topic t { group_by = {customer_id} }
queue payment-processing { topic = t  visibility_timeout = 1s }
queue bank-account-setup { topic = t  visibility_timeout = 1s }
EOF
ends() { # ends DESCRIPTION STATUS PID: within a minute, with this status
  if ! timeout 600 tail --pid="$3" -f /dev/null; then
    ok "$1" false
    kill -KILL "$3"
  fi
  wait "$3" 2>/dev/null
  is "$1" "$2" $?
}
state_is() { # state_is LETTER PID, as ps(1) has it: S waits, T is stopped
  [ "$(sed 's/.*) \(.\) .*/\1/' "/proc/$2/stat" 2>/dev/null)" = "$1" ]
}

echo "# a router that hangs, and has taken as many connections as fit"
start router headgate-router -c "$dir/conf"
wait_for 60 ready
start payment headgate-payment -c "$dir/conf"
wait_for 60 "$ctl" -c "$dir/conf" wait --workers -t 0 payment-processing
kill -STOP "$router"
wait_for 60 state_is T "$router"
"$top_builddir/tests/backlog" "$dir/run/router.sock" >"$dir/backlog" &
ok "nobody else can connect" wait_for 60 grep -q full "$dir/backlog"
printf "$message" one >"$dir/one"
"$top_builddir/headgate-publish" -c "$dir/conf" --wait 500ms "$dir/one" 2>"$dir/err" &
ends "a publisher waits as long as it says" 69 $!
ok "and says why" grep -q 'router.sock: the router does not answer' "$dir/err"
"$top_builddir/headgate-publish" -c "$dir/conf" --wait 10m "$dir/one" 2>"$dir/err" &
publisher=$!
ok "one that waits for long says so" wait_for 60 grep -q 'waiting for the router, 600 s at most (--wait): .*the router does not answer' "$dir/err"
wait_for 60 state_is S "$publisher"
kill -TERM "$publisher"
ends "SIGTERM ends it" 143 "$publisher"
is "and had said it once" 1 "$(grep -c 'waiting for the router' "$dir/err")"
"$ctl" -c "$dir/conf" peek --groups payment-processing 2>"$dir/err" &
ends "headgatectl gives up" 69 $!
start account headgate-bank-account -c "$dir/conf"
ok "a worker cannot attach" wait_for 60 grep -q '"worker.waiting"' "$dir/headgate-bank-account.log"
kill -TERM "$account"
ends "SIGTERM ends it" 0 "$account"
kill -TERM "$payment"
ends "and one that is attached" 0 "$payment"
kill -CONT "$router"
kill %?backlog
wait %?backlog 2>/dev/null

echo "# a child that does not stir"
start payment headgate-payment -c "$dir/conf"
wait_for 60 "$ctl" -c "$dir/conf" wait --workers -t 0 payment-processing
kill -KILL "$router" # who would end it
wait "$router" 2>/dev/null
wait_for 60 grep -q '"worker.detached"\|"worker.waiting"' "$dir/headgate-payment.log"
kill -STOP "$(pgrep -P "$payment")"
kill -TERM "$payment"
ends "its parent ends it, and itself" 0 "$payment"
ok "and says so" grep -q '"worker.killed"' "$dir/headgate-payment.log"

echo "# a lock that is kept"
start router headgate-router -c "$dir/conf"
"$ctl" -c "$dir/conf" wait -t 60
exec 8<"$dir/run/control"
flock 8
"$ctl" -c "$dir/conf" stop payment-processing 2>"$dir/err" &
ends "headgatectl does not wait for it for ever" 75 $!
ok "and says what was not done" grep -q 'nothing was changed' "$dir/err"
exec 8<&-
"$ctl" -c "$dir/conf" stop payment-processing >/dev/null
is "and takes it when it is free" 0 $?

echo "# a reader of errors that does not read"
mkfifo "$dir/stalled"
exec 5<>"$dir/stalled"
head -c 65536 /dev/zero >&5
{ echo 'no json'; cat "$dir/one"; } >"$dir/bad"
"$top_builddir/headgate-publish" -c "$dir/conf" "$dir/bad" 2>"$dir/stalled" &
publisher=$!
wait_for 60 state_is S "$publisher"
kill -TERM "$publisher"
ends "SIGTERM ends a publisher" 143 "$publisher"
kill -TERM "$router"
ends "and the router ends" 0 "$router"
done_testing
