#!/bin/bash
# peek shows what waits, in order, with and without a router, and also while the router frees, reuses and
# moves the files that are being read. PEEK_COUNT messages.
. "$top_srcdir/tests/lib.sh"

count=${PEEK_COUNT:-60000}
every=500
ctl() { "$top_builddir/headgatectl" "$@" 2>"$dir/ctl.err"; }
pay() {
  printf '{"customer_id":"%s","transaction_type":"payment","amount":%s,"payment_method":"card","account_number":"12345678","message_id":"%s"}\n' "$1" "$2" "$3"
}

is "a queue in which nothing ever was" "" "$(ctl peek payment-processing)"
ctl peek no-such-queue
is "a queue that is not there" 64 $?
ctl peek payment-processing bank-account-setup
is "two queues" 64 $?
ctl peek --force payment-processing
is "an option of another command" 64 $?

start router headgate-router
wait_for 20 ready
{ pay A 1 p1; pay B 2 p2; pay C 3 p3; } | publish
ctl peek --json payment-processing >"$dir/seen"
is "it peeks" 0 $?
is "all that wait are shown, in order" "1 p1 A,2 p2 B,3 p3 C" \
  "$(jq -r '"\(.sequence) \(.message_id) \(.group)"' "$dir/seen" | paste -s -d,)"
is "-n: so many" "p1,p2" "$(ctl peek -n 2 --json payment-processing | jq -r .message_id | paste -s -d,)"
is "the size is the body's" "$(($(pay A 1 p1 | wc -c) - 1))" "$(jq .size "$dir/seen" | head -n 1)"
is "it was published just now" true \
  "$(jq -s 'all(.[]; .age_s < 60 and (.published | test("^[0-9-]{10}T[0-9:.]{12}Z$")))' "$dir/seen")"
is "account numbers are masked" "$(pay A 1 p1 | sed 's/12345678/****5678/')" \
  "$(jq -r .body "$dir/seen" | head -n 1)"
is "unless they are asked for" "$(pay A 1 p1)" "$(ctl peek -n 1 --json --reveal payment-processing | jq -r .body)"
is "no number is left in the text for a person" "" "$(ctl peek payment-processing | grep 12345678)"
ok "which has the bodies" [ "$(ctl peek payment-processing | grep -c '\*\*\*\*5678')" = 3 ]
is "the page has each field" "" "$(jq -r 'keys[]' "$dir/seen" | undocumented headgatectl.1)"
ctl peek payment-processing >/dev/full
is "a full disk on stdout" 74 $?
ctl peek --json payment-processing >"$dir/before"
stop "$router"
ctl peek --json payment-processing >"$dir/after"
is "without a router the same" "$(jq -c 'del(.age_s)' "$dir/before")" "$(jq -c 'del(.age_s)' "$dir/after")"
rm -rf "$dir/state" "$dir/run"

# Small segments, and a worker that leaves each 500th message: what is left is moved again and again.
"$top_builddir/tests/faults/headgate-router" 2>"$dir/headgate-router.log" &
router=$!
wait_for 20 ready
"$top_builddir/tests/faults/worker" -e "$every" "$dir" payment-processing - 2>"$dir/worker.log" &
"$top_builddir/tests/generate" -n $((count * 2)) -s 5 | grep '"payment"' | head -n "$count" | split -l 1000 -d -a 5 - "$dir/chunk."
mkfifo "$dir/pipe"
publish <"$dir/pipe" &
publisher=$!
exec 3>"$dir/pipe"
wait_for 20 test -d "$dir/state/queues/payment-processing"
peeks=0
failed_peeks=0
wrong=0
again=0
for chunk in "$dir"/chunk.*; do # each is published while it is looked at what is there
  cat "$chunk" >&3 &
  writing=$!
  ctl -v peek -n 1000000 --json payment-processing >"$dir/seen" || {
    failed_peeks=$((failed_peeks + 1))
    sed 's/^/# /' "$dir/ctl.err"
  }
  grep -q 'files changed' "$dir/ctl.err" && again=$((again + 1))
  # In order, none twice, and all that the worker leaves are there, up to the last that is shown.
  jq -r .sequence "$dir/seen" | awk -v every="$every" '
    $1 <= last { bad = 1 }
    { last = $1 }
    $1 % every == 0 { left++ }
    END { if (bad || left != int(last / every)) { print "# wrong at", last, left; exit 1 } }' ||
    wrong=$((wrong + 1))
  peeks=$((peeks + 1))
  wait "$writing"
done
exec 3>&-
wait "$publisher"
is "all are published" 0 $?
echo "# $peeks looks, $again of them had to begin again"
ok "it was looked at often" [ "$peeks" -ge 5 ]
is "each look succeeds" 0 "$failed_peeks"
is "each is one moment's picture" 0 "$wrong"
seen_left() { # the worker has settled all but what it leaves
  [ "$(ctl peek -n 1000000 --json payment-processing | jq -r .sequence | paste -s -d,)" = "$(seq "$every" "$every" "$count" | paste -s -d,)" ]
}
ok "in the end what was left is there" wait_for 30 seen_left
files_went() { # fewer are left than were made
  files=$(cd "$dir/state/queues/payment-processing" && ls -- *.log)
  [ "$(wc -l <<<"$files")" -lt "$((16#$(tail -n 1 <<<"$files" | cut -d. -f1)))" ]
}
ok "and files were freed or put together" wait_for 20 files_went
done_testing
