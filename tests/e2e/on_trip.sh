#!/bin/bash
# on_trip: a command that is run when a gate closes, with the facts, beside the router; whatever it does, the
# router goes on.
. "$top_srcdir/tests/lib.sh"

ctl() { "$top_builddir/headgatectl" "$@" 2>>"$dir/ctl.err"; }
pay() {
  printf '{"customer_id":"%s","transaction_type":"payment","amount":1,"payment_method":"card","message_id":"%s"}\n' "$1" "$2"
}
depth() { ctl status --json | jq -r '.queues[0].depth'; }
logged() { [ "$(grep -c "\"$1\"" "$dir/headgate-router.log")" -ge "$2" ]; }
event_of() { grep "\"$1\"" "$dir/headgate-router.log" | tail -n 1 | jq -r "$2"; }
trip_again() { # the head answers 5xx once more
  ctl start payment-processing >"$dir/out"
}

configure() { # configure COMMAND
  cat >"$dir/conf" <<END
topic transaction-processing { group_by = {customer_id} }
queue payment-processing { topic = transaction-processing  on_trip = '$1' }
END
}
run() { # run COMMAND: a router that has it
  configure "$1"
  : >"$dir/headgate-router.log"
  start router headgate-router -c "$dir/conf"
  ctl -c "$dir/conf" wait --ready -t 20
}

cat >"$dir/tell" <<'END'
#!/bin/sh
env | grep '^HEADGATE_[^D]\|^HEADGATE_DEPTH' | sort >"$1/env.new"
ls -l /proc/self/fd >"$1/fds"
ps -o pgid= -p $$ >"$1/group"
echo "$PPID" >"$1/shell"
cat >"$1/stdin"
mv "$1/env.new" "$1/env"
echo first line
echo "second line" >&2
exit 3
END
chmod +x "$dir/tell"

readlink /proc/$$/fd/* >"$dir/inherited"
export HEADGATE_ERROR=stale
export HEADGATE_CONFIG="$dir/conf" # a variable of somebody's own stays
run "$dir/tell $dir"
unset HEADGATE_ERROR HEADGATE_CONFIG
start payment headgate-payment -c "$dir/conf"
{ pay A p1; pay B-ERROR500 'p2 $(reboot) "x'\'''; pay C p3; pay D p4; } | sed 's/ "x/ \\"x/' | publish
ok "it is run" wait_for 20 test -e "$dir/env"
wait_for 20 logged on_trip.ended 1
is "with the facts" "HEADGATE_CONFIG=$dir/conf
HEADGATE_DEPTH=3
HEADGATE_ERROR=Payment gateway temporarily unavailable
HEADGATE_MESSAGE_ID=p2 \$(reboot) \"x'
HEADGATE_QUEUE=payment-processing
HEADGATE_SEQUENCE=2
HEADGATE_START=headgatectl -c $dir/conf -D $dir start payment-processing
HEADGATE_STATE=TRIPPED
HEADGATE_STATUS=500" "$(grep -v '^HEADGATE_\(SINCE\|IO\)=' "$dir/env" | sed 's/^\(HEADGATE_SEQUENCE\)=.*[0-9]$/\1=2/')"
ok "and since when" grep -qE '^HEADGATE_SINCE=20[0-9-]{8}T[0-9:]{8}\.[0-9]{3}Z$' "$dir/env"
is "it has three descriptors, and that of the listing" 4 "$(grep -c ' -> ' "$dir/fds")"
is "its standard input is empty" "0 /dev/null" \
  "$(wc -c <"$dir/stdin") $(sed -n 's/.* 0 -> //p' "$dir/fds")"
is "its shell leads a group of its own" "$(cat "$dir/shell")" "$(tr -d ' ' <"$dir/group")"
is "what it said is in the log" "3 0 first line
second line" "$(event_of on_trip.ended '"\(.status) \(.signal) \(.output)"')"
is "every descriptor that the router opened is closed on exec" "" "$(
  for info in /proc/"$router"/fdinfo/*; do
    [ "${info##*/}" -le 2 ] && continue
    flags=$(sed -n 's/^flags:[[:space:]]*//p' "$info")
    [ $((flags & 02000000)) -ne 0 ] || readlink "/proc/$router/fd/${info##*/}"
  done | grep -vxF -f "$dir/inherited"
)"

echo "# once for each trip"
rm "$dir/env"
trip_again
is "a probe that fails" 75 $?
ok "is told again" wait_for 20 test -e "$dir/env"
wait_for 20 logged on_trip.ended 2
ctl stop payment-processing >"$dir/out"
ctl start payment-processing >"$dir/out"
ok "so is one behind a stop" wait_for 20 logged on_trip.ended 3
ctl stop payment-processing >"$dir/out"
is "a stop is not told" 3 "$(grep -c on_trip.started "$dir/headgate-router.log")"
stop "$router"
is "the router ends" 0 $?

echo "# one that does not end"
cat >"$dir/hang" <<'END'
#!/bin/sh
trap '' TERM HUP INT
ps -o pgid= -p $$ | tr -d ' ' >>"$1/started"
yes | head -c 3000000
sleep 1000 &
echo $! >"$1/child"
wait
END
chmod +x "$dir/hang"
run "$dir/hang $dir"
ctl wait --workers -t 20 payment-processing
ctl start payment-processing >"$dir/out"
ok "is started" wait_for 20 test -s "$dir/child"
publish <<<"$(pay E p5)"
is "the router takes messages meanwhile" "0 4" "$? $(depth)"
ctl start payment-processing >"$dir/out"
ctl start payment-processing >"$dir/out"
is "there is one at a time" 1 "$(wc -l <"$dir/started")"
kill -KILL -- "-$(cat "$dir/started")" # as the time limit would, in half a minute
ok "when it has ended, the last trip is told" wait_for 20 eval '[ "$(wc -l <"$dir/started")" = 2 ]'
is "how it ended is known" 9 "$(event_of on_trip.ended .signal)"
is "and how its output began" "y y y" "$(event_of on_trip.ended '.output | gsub("\n"; " ") | .[:5]')"
wait_for 20 eval '[ "$(tail -n 1 "$dir/started")" != "$(head -n 1 "$dir/started")" ] && [ -s "$dir/child" ]'
second=$(tail -n 1 "$dir/started")
if [ -n "${ON_TRIP_LIMIT:-}" ]; then # takes half a minute
  ok "it is killed when its time is over" wait_for 40 logged on_trip.killed 1
  ok "with what it had started" wait_for 5 eval '! kill -0 "$(cat "$dir/child")"'
fi
kill -KILL -- "-$second" 2>/dev/null
stop "$router"

echo "# what it leaves behind"
cat >"$dir/leave" <<'END'
#!/bin/sh
sleep 1000 &
echo $! >"$1/left"
END
chmod +x "$dir/leave"
run "$dir/leave $dir"
ctl wait --workers -t 20 payment-processing
ctl start payment-processing >"$dir/out"
wait_for 20 logged on_trip.ended 1
ok "ends with it" wait_for 5 eval '! kill -0 "$(cat "$dir/left")"'
stop "$router"

echo "# one that cannot be run"
run "$dir/no-such-command"
ctl wait --workers -t 20 payment-processing
ctl start payment-processing >"$dir/out"
ok "is an event" wait_for 20 logged on_trip.ended 1
is "with what the shell says" "127 no-such-command: not found" \
  "$(event_of on_trip.ended '"\(.status) \(.output)"' | sed 's|^\([0-9]*\) .*/|\1 |')"
is "and nothing else changes" "TRIPPED 4" "$(ctl status --json | jq -r '.queues[0] | "\(.state) \(.depth)"')"
stop "$router"

echo "# the examples"
mkdir "$dir/bin"
cat >"$dir/bin/sendmail" <<'END'
#!/bin/sh
cat >"$HEADGATE_DIR/mail"
END
cat >"$dir/bin/curl" <<'END'
#!/bin/sh
for last; do :; done
{ cat; echo "$last"; } >"$HEADGATE_DIR/post"
END
chmod +x "$dir/bin/sendmail" "$dir/bin/curl"
PATH="$dir/bin:$PATH" run "$top_srcdir/examples/on-trip-mail.sh ops@example.org; $top_srcdir/examples/on-trip-post.sh http://127.0.0.1:9/hook"
ctl wait --workers -t 20 payment-processing
ctl start payment-processing >"$dir/out"
wait_for 20 logged on_trip.ended 1
is "end well, and say nothing" "0 null" "$(event_of on_trip.ended '"\(.status) \(.output)"')"
ok "mail" grep -q '^Subject: headgate: payment-processing is TRIPPED$' "$dir/mail"
ok "with what to do" grep -q "^When the cause is mended:  headgatectl -c $dir/conf -D $dir start payment-processing\$" "$dir/mail"
is "post" "payment-processing 500 4" "$(head -n 1 "$dir/post" | jq -r '"\(.queue) \(.status) \(.depth)"')"
is "to the address" http://127.0.0.1:9/hook "$(tail -n 1 "$dir/post")"
stop "$payment"
stop "$router"

configure ' '
ctl -c "$dir/conf" config >"$dir/out"
is "an empty command is refused" 78 $?
configure "echo \\'a\\'"
ctl -c "$dir/conf" config >"$dir/out"
ok "a command reads back as it was" grep -qF "on_trip = 'echo \\'a\\''" "$dir/out"
done_testing
