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
  "or give the message up: headgatectl start --skip-head --message 'x; touch PWNED #' payment-processing" \
  "$(sed -n 's/^ *\(or give the message up.*\)/\1/p' "$dir/screen")"
paste_it() { # the suggested command, as a shell reads it
  (
    cd "$dir" && sed -n 's/^ *or give the message up: //p' screen >pasted &&
      PATH="$top_builddir:$PATH" bash ./pasted >pasted.out 2>&1
  )
}
paste_it
is "pasted, it gives the message up" 0 $?
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
ok "and what to do" grep -q "kill -KILL $router, then headgate-router -d" "$dir/screen"
ctl wait --ready -t 200ms
is "it is not ready" 75 $?
kill -CONT "$router"
ctl wait --ready -t 20
is "when it goes on it is" 0 $?
ok "status is as before" eval 'ctl status | grep -q "^router: running for [0-9ms ]*, pid $router\$"'

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
ok "of the other queue it is" grep -q '^bank-account-setup *RUNNING *0 ' "$dir/screen"
is "a program is told, too" '[null,null,null,[],"string"]' \
  "$(pay_state '[.state, .depth, .done, .workers, (.error | type)]')"
is "and the exit status" 65 "$(ctl status --json >"$dir/out"; echo $?)"

done_testing
