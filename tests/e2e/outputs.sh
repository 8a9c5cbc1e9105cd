#!/bin/bash
# A file that is written is no file that is read, nor another one that is written: that is said, and nothing is touched.
. "$top_srcdir/tests/lib.sh"

line='{"customer_id":"A","transaction_type":"payment","amount":1,"payment_method":"card"}'
reset() {
  printf '%s\nnonsense\n' "$line" >"$dir/in"
  echo before >"$dir/out"
  "$top_builddir/headgatectl" config >"$dir/conf"
  cp "$dir/conf" "$dir/conf.before"
  ln -f "$dir/conf" "$dir/conf.link"
}
publisher() { timeout 60 "$top_builddir/headgate-publish" --wait 0 "$@"; }
refused() { # refused WHAT STATUS FILE WANTED: the status, and what is in the file
  is "$1" "64 $4" "$2 $(cat "$3")"
}

echo "# refused lines"
reset
publisher --receipts --rejects "$dir/out" "$dir/in" >>"$dir/out" 2>"$dir/err"
refused "in the file of the receipts" $? "$dir/out" before
ok "it says so" grep -q "^headgate-publish: --rejects $dir/out: is standard output" "$dir/err"
publisher --receipts --rejects /dev/stdout "$dir/in" >>"$dir/out" 2>"$dir/err"
refused "by another name" $? "$dir/out" before
publisher --rejects /dev/stdout "$dir/in" >>"$dir/out" 2>"$dir/err"
refused "without receipts" $? "$dir/out" before
ok "it says how" grep -q -- '--rejects - ' "$dir/err"
publisher --receipts --rejects /dev/stdout "$dir/in" 2>"$dir/err" | cat >"$dir/piped"
is "in the pipe of the receipts" "64 0" "${PIPESTATUS[0]} $(wc -c <"$dir/piped")"
publisher --rejects "$dir/out" "$dir/in" 2>>"$dir/out"
is "in the file of the errors: only the error is added" "64 2 before" "$? $(wc -l <"$dir/out") $(head -n 1 "$dir/out")"
reset
publisher -c "$dir/conf" --rejects "$dir/conf.link" "$dir/in" 2>"$dir/err"
is "in the configuration" 64 $?
ok "which is as it was" cmp -s "$dir/conf" "$dir/conf.before"
rm -f ./-
publisher --receipts --rejects - "$dir/in" >"$dir/out" 2>"$dir/err"
refused "on standard output, with receipts" $? "$dir/out" ""
ok "no file is made that is called -" [ ! -e - ]

echo "# what is read"
reset
cp "$dir/in" "$dir/in.before"
publisher --receipts "$dir/in" >>"$dir/in" 2>"$dir/err"
is "takes no receipts" 64 $?
publisher --receipts <"$dir/in" >>"$dir/in" 2>"$dir/err"
is "from standard input, too" 64 $?
publisher --rejects - <"$dir/in" >>"$dir/in" 2>"$dir/err"
is "nor refused lines" 64 $?
ok "it is as it was" cmp -s "$dir/in" "$dir/in.before"
publisher "$dir/in" 2>>"$dir/in"
is "nor errors: one is added, and it ends" "64 3" "$? $(wc -l <"$dir/in")"
"$top_builddir/headgatectl" -c "$dir/conf" config >>"$dir/conf" 2>"$dir/err"
is "nor the configuration of headgatectl" 64 $?
for program in headgate-router headgate-payment; do
  timeout 60 "$top_builddir/$program" -c "$dir/conf" --log "$dir/conf.link" 2>"$dir/err"
  is "nor the log of $program" 64 $?
  ok "it says so" grep -q "^$program: --log $dir/conf.link: is the configuration" "$dir/err"
done
ok "which is as it was" cmp -s "$dir/conf" "$dir/conf.before"

echo "# what goes"
reset
start router headgate-router
wait_for 20 ready
"$top_builddir/headgate-publish" --receipts "$dir/in" >"$dir/both" 2>&1
is "receipts and errors in one file, as a shell has it" "65 1 1" \
  "$? $(grep -c '"status":200' "$dir/both") $(grep -c '^headgate-publish: ' "$dir/both")"
publish --rejects - "$dir/in" >>"$dir/out"
is "refused lines behind what was there" "65 before nonsense" "$? $(paste -s -d' ' "$dir/out")"
publish --receipts --rejects /dev/null "$dir/in" >/dev/null
is "and nowhere" 65 $?
stop "$router"
done_testing
