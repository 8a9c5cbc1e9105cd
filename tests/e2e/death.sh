#!/bin/bash
# A message that a worker does not survive: it is counted, tried alone, and given up after
# max_receive_count. Its neighbours lose nothing.
. "$top_srcdir/tests/lib.sh"

field() { # field NAME: of status, queue bank-account-setup
  "$top_builddir/headgatectl" status --json |
    jq -r ".queues[] | select(.name == \"bank-account-setup\") | .$1"
}
configure() { # configure TIMEOUT
  cat >"$dir/conf" <<EOF
topic transaction-processing { group_by = {customer_id} }
queue bank-account-setup {
    topic = transaction-processing
    filter_policy = '{"transaction_type": ["bank_account_setup"]}'
    visibility_timeout = $1
    max_receive_count = 2
}
EOF
}
line() { # line ID CUSTOMER
  echo "{\"customer_id\":\"$2\",\"transaction_type\":\"bank_account_setup\",\"message_id\":\"$1\",\"routing_number\":\"123456789\",\"account_number\":\"12345\"}"
}

configure 1s
start router headgate-router -c "$dir/conf"
wait_for 20 ready
{
  for i in 1 2 3 4 5; do line "before-$i" "C$i"; done
  line slow C-SLOW-1
  for i in 1 2 3 4 5; do line "after-$i" "C$i"; done
} | publish
start account headgate-bank-account -c "$dir/conf"

ok "all are ended" "$top_builddir/headgatectl" -c "$dir/conf" wait --empty -t 30
is "two workers were ended, not more" 2 "$(grep -c '"worker.too_slow"' "$dir/headgate-router.log")"
is "its neighbours are stored, once, in order" \
  "before-1 before-2 before-3 before-4 before-5 after-1 after-2 after-3 after-4 after-5" \
  "$(accounts 'SELECT message_id FROM bank_accounts ORDER BY rowid' | xargs)"
is "it is recorded, and says why" \
  "slow|500|server_error|the worker died, or took too long, 2 times while it handled this message" \
  "$(accounts 'SELECT message_id, code, error_type, reason FROM failures')"
is "it is in the dead-letter queue" "1 1" "$(field dead_lettered) $("$top_builddir/headgatectl" -c "$dir/conf" status --json |
  jq '.queues[] | select(.name == "bank-account-setup-dlq") | .depth')"
is "with two handlers that were started on it" 2 "$("$top_builddir/headgatectl" -c "$dir/conf" dead show --json bank-account-setup slow | jq .receives)"
is "the gate stays open" RUNNING "$(field state)"

# The count is in the log: a router that is killed in between does not begin anew.
: >"$dir/headgate-router.log"
{ line slow-2 C-SLOW-3; line after-6 C1; } | publish -c "$dir/conf"
ok "one death is counted" wait_for 20 grep -q '"receives":1' "$dir/headgate-router.log"
kill -KILL "$router"
wait "$router" 2>/dev/null
start router headgate-router -c "$dir/conf"
ok "after the router was killed the next one is too many" \
  wait_for 30 grep -q '"receives":2' "$dir/headgate-router.log"
ok "and the queue goes on" "$top_builddir/headgatectl" -c "$dir/conf" wait --empty -t 30
is "both are recorded" "slow slow-2" "$(accounts 'SELECT message_id FROM failures ORDER BY rowid' | xargs)"

# A worker that is stopped in the middle of a message is ended, and the next one takes over.
configure 1s
stop "$router"
stop "$account"
: >"$dir/headgate-router.log"
: >"$dir/headgate-bank-account.log"
start router headgate-router -c "$dir/conf"
start account headgate-bank-account -c "$dir/conf"
wait_for 20 "$top_builddir/headgatectl" -c "$dir/conf" wait --workers -t 1
child=$(pgrep -P "$account")
line freeze C-SLOW-2 | publish -c "$dir/conf"
handling() { # no heartbeat comes while a handler runs
  "$top_builddir/headgatectl" -c "$dir/conf" status --json |
    jq -e '.queues[0] | .in_flight == 1 and .workers[0].heartbeat_age_s > 0.3' >/dev/null
}
ok "the worker is at it" wait_for 10 handling
kill -STOP "$child"
ok "a frozen worker is ended" wait_for 20 grep -q '"worker.too_slow"' "$dir/headgate-router.log"
ok "another takes its place" wait_for 20 \
  sh -c "[ \$(grep -c '\"worker.attached\"' $dir/headgate-bank-account.log) -ge 2 ]"
done_testing
