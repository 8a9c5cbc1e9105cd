#!/bin/bash
# Disk is given back when messages are settled; what was freed is still known to deduplication, to the
# counters and to the stores. A log that lost an acknowledged batch is refused.
. "$top_srcdir/tests/lib.sh"

count=250000
log=$dir/state/queues/payment-processing

segments() { # segments QUEUE: number of its segments
  find "$dir/state/queues/$1" -name '*.log' | wc -l
}
few_left() { # few_left QUEUE: no more than the active one and the next
  [ "$(segments "$1")" -le 2 ]
}
field() { # field QUEUE NAME: of status
  "$top_builddir/headgatectl" status --json | jq -r ".queues[] | select(.name == \"$1\") | .$2"
}

start_all
"$top_builddir/tests/generate" -n "$count" -c 1000 >"$dir/in"
ok "$count messages are published" publish "$dir/in"
ok "and handled" "$top_builddir/headgatectl" wait --empty -t 60
ok "payments: settled segments are gone" wait_for 20 few_left payment-processing
ok "accounts: settled segments are gone" wait_for 20 few_left bank-account-setup
ok "they were many" [ "$(ls "$log" | sed -n 's/^0*\([0-9a-f]*\)\.log$/\1/p' | head -n 1)" != 1 ]
done_before=$(field payment-processing done)

kill -KILL "$router"
wait "$router" 2>/dev/null
: >"$dir/headgate-router.log"
start router headgate-router
ok "the router starts with what is left" wait_for 20 ready
is "it still counts all" "$done_before" "$(field payment-processing done)"
head -n 1000 "$dir/in" >"$dir/again"
is "duplicates of freed messages are known" "1000" \
  "$(publish --receipts "$dir/again" | jq -c 'select(.duplicate)' | wc -l)"
ok "they are not delivered again" "$top_builddir/headgatectl" wait --empty -t 20
is "each message is stored once" "$count" \
  "$(($(payments 'SELECT count(*) FROM payments') + $(accounts 'SELECT count(*) FROM bank_accounts')))"

# A batch of one log that is lost, while a later one stands in the other.
one() { # one ID TYPE
  echo "{\"customer_id\":\"C1\",\"transaction_type\":\"$2\",\"message_id\":\"$1\",\"amount\":1,\"payment_method\":\"card\",\"routing_number\":\"123456789\",\"account_number\":\"12345\"}" | publish
}
stop "$payment"
stop "$account"
one lost-batch payment
one later-1 bank_account_setup
kill -KILL "$router"
wait "$router" 2>/dev/null
last=$(ls "$log"/*.log | while read -r file; do grep -qa lost-batch "$file" && echo "$file"; done)
offset=$(grep -abo lost-batch "$last" | head -n 1 | cut -d : -f 1)
cp "$last" "$dir/whole"
dd if=/dev/zero of="$last" bs=512 seek=$((offset / 512)) count=1 conv=notrunc status=none
"$top_builddir/headgate-router" 2>"$dir/refused"
is "a router that lost an acknowledged batch does not start" 65 $?
ok "it names the log" grep -q "payment-processing.*is damaged" "$dir/refused"
cp "$dir/whole" "$last"
: >"$dir/headgate-router.log"
start router headgate-router
ok "with the batch put back it does" wait_for 20 ready

# A pile is as old after a restart as before.
stop "$router"
rm -rf "$dir/state" "$dir/run"
start router headgate-router
wait_for 20 ready
"$top_builddir/tests/generate" -n 20000 -s 9 | publish
ok "a pile of several segments" [ "$(segments payment-processing)" -gt 2 ]
is_old() { awk "BEGIN { exit !($(field payment-processing oldest_age_s) >= 2) }"; }
ok "it gets older" wait_for 20 is_old
stop "$router"
start router headgate-router
wait_for 20 ready
ok "and is no younger when the router has been restarted" is_old
done_testing
