#!/bin/bash
# `check -v' tells of each file of a log what it is, and what is in it.
. "$top_srcdir/tests/lib.sh"

ctl() { "$top_builddir/headgatectl" "$@" 2>"$dir/ctl.err"; }
log=$dir/state/queues/payment-processing
files() { jq -r "select(.queue == \"payment-processing\" and .role) | select($1) | $2" "$dir/check"; } # files WHICH WHAT
roles() { files true .role | uniq | xargs; }
sum() { awk '{ n += $1 } END { print n + 0 }'; }
count() { find "$log" -name "$1" | wc -l; }
run_router() {
  : >"$dir/headgate-router.log"
  "$top_builddir/tests/faults/headgate-router" 2>>"$dir/headgate-router.log" & # files of 64 KB
  router=$!
  wait_for 20 ready
}

run_router
"$top_builddir/tests/generate" -n 2000 -b 200 | grep '"payment"' >"$dir/in"
messages=$(wc -l <"$dir/in")
publish "$dir/in"
made_ahead() { # the last one has a header only
  [ "$(count '*.new')" = 0 ] && ! grep -qa '"message_id"' "$(printf '%s\n' "$log"/*.log | tail -n 1)"
}
ok "the next file is there" wait_for 20 made_ahead
stop "$router"
ctl check -v --json >"$dir/check"
is "whole" 0 $?
is "the roles, in order of their names" "sealed active preallocated" "$(files true .role | uniq | paste -s -d' ')"
is "each file is there" "$(ls "$log" | xargs)" "$(files true .name | xargs)"
is "with its size" "$(stat -c %s "$log"/*.log | xargs)" "$(files true .bytes | xargs)"
is "and its blocks" "$(stat -c '%b %B' "$log"/*.log | awk '{ print $1 * $2 }' | xargs)" "$(files true .disk_bytes | xargs)"
is "all messages are in one of them" "$messages $messages" "$(files true '.messages // 0' | sum) $(files true '.live // 0' | sum)"
is "each begins behind the one before" "" "$(files '.messages > 0' '"\(.first_sequence) \(.last_sequence)"' |
  awk '$1 != last + 1 { print } { last = $2 }')"
id=$(ctl peek --json -n 1000 payment-processing | tail -n 1)
sequence=$(echo "$id" | jq .sequence)
id=$(echo "$id" | jq -r .message_id)
is "message $sequence is where it says" "$(cd "$log" && grep -l -a -F "\"$id\"" ./*.log | xargs -n 1 basename)" \
  "$(files ".first_sequence <= $sequence and .last_sequence >= $sequence" .name)"
ctl check -v payment-processing >"$dir/text"
is "as text, a line for each" "$(files true '"\(.name) \(.role)"')" \
  "$(sed -n 's/^ *\([0-9a-f]\{16\}\.log\)  *\([a-z ]*[a-z]\) .*/\1 \2/p' "$dir/text")"
is "not of other queues" 0 "$(grep -c '^bank-account-setup' "$dir/text")"
is "and only with -v" 0 "$(ctl check payment-processing | grep -c preallocated)"
is "the page has each field" "" "$(jq -r 'keys[]' "$dir/check" | undocumented headgatectl-check.1)"

echo "# a few are left"
run_router
"$top_builddir/tests/faults/worker" -e 40 "$dir" payment-processing "$dir/applied" 2>"$dir/worker.log" &
worker=$!
few() { [ "$(count '*.log')" -le 4 ] && [ "$(count '*.ids')" -gt 0 ]; }
ok "live messages are compacted" wait_for 30 few
kill -KILL "$worker"
wait "$worker" 2>/dev/null
stop "$router"
ctl check -v --json >"$dir/check"
is "whole" 0 $?
is "there is such a file" "compacted" "$(files '.role == "compacted"' .role | uniq)"
is "and ids" "$(count '*.ids')" "$(files '.role == "ids"' .name | wc -l)"
is "each file is there" "$(ls "$log" | xargs)" "$(files true .name | xargs)"
is "the live messages are in these" "$(jq -r 'select(.queue == "payment-processing" and has("waiting")) | .waiting' "$dir/check")" \
  "$(files true '.live // 0' | sum)"
is "all messages of compacted files are live" "" "$(files '.role == "compacted" and .messages != .live' .name)"

echo "# what is none of these"
: >"$log/0000000000000fff.log.new"
: >"$log/note"
cp "$log/$(files '.role == "sealed" or .role == "active"' .name | tail -n 1)" "$log/0000000000000fff.free"
ctl check -v --json >"$dir/check"
is "has no part in the log" "0 kept not finished not of the log" \
  "$? $(files '.name | test("^note$|fff\\.free$|new$")' .role | paste -s -d' ')"
rm "$log/0000000000000fff.log.new" "$log/note" "$log/0000000000000fff.free"
last=$(files '.role == "active"' .name)
dd if=/dev/zero of="$log/$last" bs=8192 count=1 conv=notrunc status=none
ctl check -v --json >"$dir/check"
is "a file of which nothing can be told" "65 damaged" "$? $(files ".name == \"$last\"" .role)"
done_testing
