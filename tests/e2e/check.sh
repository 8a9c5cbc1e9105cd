#!/bin/bash
# Logs are checked: what is whole is called whole, and what is damaged is named as the router names it.
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
undocumented() { # the keys of FILE that the page does not have
  jq -r 'keys[]' "$1" | sort -u |
    while read -r key; do grep -q "^\.Va $key" "$top_srcdir/man/headgatectl.1" || echo "$key"; done
}
refused() { # the router does not start, and says why in $dir/refused
  timeout -k 1 20 "$top_builddir/headgate-router" 2>"$dir/refused"
}
one() { jq -r "select(.queue == \"$1\") | select(has(\"$2\")) | .$2" "$dir/check"; } # one QUEUE FIELD

echo "# whole"
ctl check
is "nothing ever was: all is whole" 0 $?
ctl check no-such-queue
is "a queue that is not there" 64 $?
start router headgate-router
start payment headgate-payment
wait_for 20 ready
for n in 1 2 3; do pay A "p$n" | publish; done
ok "three are paid" wait_for 20 eval '[ "$(payments "SELECT count(*) FROM payments")" = 3 ]'
ctl wait --empty -t 20
stop "$payment"
for n in 4 5 6 7 8; do pay B "p$n" | publish; done
ctl check
is "not beside a router" 75 $?
ok "it says so" grep -q 'a router runs' "$dir/ctl.err"
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

echo "# torn"
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
ok "it says what to type" grep -q 'headgatectl check' "$dir/refused"
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
is "the page has each field" "" "$(undocumented "$dir/check")"
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
done_testing
