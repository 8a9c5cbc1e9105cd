#!/bin/bash
# Lines that a seed mutated, through publisher, router and workers: each has one receipt, and each that was taken one
# outcome. Nobody crashes, no gate closes, and what was good is stored. MUTATE_SEED, MUTATE_COUNT.
. "$top_srcdir/tests/lib.sh"

seed=${MUTATE_SEED:-20261130}
count=${MUTATE_COUNT:-3000}
echo "# MUTATE_SEED=$seed MUTATE_COUNT=$count"
ctl() { "$top_builddir/headgatectl" "$@" 2>>"$dir/ctl.err"; }
total() { ctl status --json | jq "[.queues[] | select(.name == \"bank-account-setup\" or .name == \"payment-processing\") | $1] | add"; }

lines=$("$top_builddir/tests/mutate" -n "$count" -s "$seed" 2>&1 >"$dir/in")
start_all
ctl wait --workers -t 60
publish --receipts --rejects "$dir/rejects" "$dir/in" >"$dir/receipts"
is "some lines are refused" 65 $?
is "each line that is not blank has a receipt" "$lines" "$(wc -l <"$dir/receipts")"
is "and no other" "$lines" "$(jq .line "$dir/receipts" | sort -n | uniq | wc -l)"
is "with one of these statuses" "" "$(jq .status "$dir/receipts" | sort -u | grep -v -x -E '200|400|413|422')"
taken=$(jq -c 'select(.status == 200 and (.duplicate | not))' "$dir/receipts" | wc -l)
duplicates=$(jq -c 'select(.duplicate)' "$dir/receipts" | wc -l)
echo "# $lines lines, $taken taken, $duplicates duplicates"
ok "duplicates are said" [ "$duplicates" -eq 0 -o "$(grep -c "$duplicates of $lines lines" "$dir/publish.err")" -eq 1 ]
ok "all that was taken is handled" ctl wait --empty -t 120
is "each has one outcome" "$taken $taken" "$(total .published) $(total '.done + .failed')"
is "no gate is closed" "RUNNING RUNNING" "$(ctl status --json | jq -r '.queues[] | select(.name == "bank-account-setup" or .name == "payment-processing") | .state' | paste -s -d' ')"
is "what is done is stored, once" "$(total .done)" \
  "$(($(payments 'SELECT count(*) FROM payments') + $(accounts 'SELECT count(*) FROM bank_accounts')))"
is "what failed is recorded, once" "$(total .failed)" \
  "$(($(payments 'SELECT count(*) FROM failures') + $(accounts 'SELECT count(*) FROM failures')))"
is "nobody died" "" "$(grep -h -E '"(worker.died|worker.killed|worker.too_slow|worker.broke_protocol)"' "$dir"/headgate-*.log | head -n 3)"
is "the same lines again are refused or duplicates" "0" \
  "$(publish --receipts "$dir/in" | jq -c 'select(.status == 200 and (.duplicate | not))' | wc -l)"
stop "$payment"
stop "$account"
stop "$router"
is "the logs are whole" 0 "$(ctl check >"$dir/check"; echo $?)"
done_testing
