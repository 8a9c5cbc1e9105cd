#!/bin/bash
# Each kind of bad line is named and kept, and the good ones around it go on.
. "$top_srcdir/tests/lib.sh"

start_all
{
  printf '{"customer_id":"C","transaction_type":"payment","amount":1,"payment_method":"x","message_id":"good-1"}\n'
  printf '{"customer_id":"C"\n'
  printf '[1,2]\n'
  printf '\n'
  printf '{"customer_id":"C","customer_id":"D","transaction_type":"payment"}\n'
  printf '{"customer_id":"\377","transaction_type":"payment"}\n'
  printf '{"customer_id":"\\ud800","transaction_type":"payment"}\n'
  printf '{"transaction_type":"payment","amount":1}\n'
  printf '{"customer_id":"","transaction_type":"payment","amount":1}\n'
  printf '{"customer_id":"C","transaction_type":"payment","message_id":7}\n'
  printf '{"customer_id":"C","transaction_type":"Payment","amount":1}\n'
  printf '{"customer_id":"C","transaction_type":["payment"],"amount":1}\n'
  printf '{"customer_id":"C","transaction_type":"payment","pad":"%0300000d"}\n' 0
  printf '{"customer_id":"C","transaction_type":"payment","amount":2,"payment_method":"x","message_id":"good-2"}'
} >"$dir/in"
publish --receipts --rejects "$dir/rejects" <"$dir/in" >"$dir/receipts"
is "some lines refused" 65 $?
is "good lines are durable, also the last without a newline" "1 14" \
  "$(grep '"status":200' "$dir/receipts" | sed 's/{"line":\([0-9]*\),.*/\1/' | tr '\n' ' ' | sed 's/ $//')"
is "each bad line is refused with its number and status" \
  "2:400 3:400 5:400 6:400 7:400 8:400 9:400 10:400 11:422 12:422 13:413" \
  "$(grep -v '"status":200' "$dir/receipts" | sed 's/{"line":\([0-9]*\),"status":\([0-9]*\).*/\1:\2/' | tr '\n' ' ' | sed 's/ $//')"
ok "and named on stderr" grep -q 'headgate-publish: stdin:2: invalid JSON' "$dir/publish.err"
sed -e 1d -e 4d -e '$d' "$dir/in" >"$dir/wanted"
ok "refused lines are kept byte for byte" cmp -s "$dir/wanted" "$dir/rejects"
ok "the good ones are stored" wait_for 20 eval '[ "$(payments "SELECT count(*) FROM payments")" = 2 ]'

cat >"$dir/sns" <<'EOF'
{"Type":"Notification","Message":"{\"customer_id\":\"S\",\"amount\":5,\"payment_method\":\"x\",\"message_id\":\"sns-1\"}","MessageAttributes":{"transaction_type":{"Type":"String","Value":"payment"}}}
EOF
publish --receipts "$dir/sns" >"$dir/receipts"
is "an SNS notification is unwrapped and its attributes route it" 0 $?
ok "its id is the message's" grep -q '"message_id":"sns-1"' "$dir/receipts"

line='{"customer_id":"E","transaction_type":"payment","amount":1,"payment_method":"x"}'
printf '\357\273\277%s\r\n' "$line" >"$dir/dos"
echo "$line" >"$dir/unix"
publish --receipts "$dir/dos" "$dir/unix" >"$dir/receipts"
is "a mark and carriage returns are no part of a message" "0 false true" \
  "$? $(jq -r .duplicate "$dir/receipts" | paste -s -d' ')"
for ((i = 0; i < 1000; i++)); do echo '{"customer_id":"F","transaction_type":"payment"}'; done >"$dir/plain"
refused_whole() { # refused_whole WHAT FILE WORDS: with one error
  "$top_builddir/headgate-publish" "$2" 2>"$dir/err"
  is "$1 is refused" 65 $?
  is "with one line that says what to do" "1 1" "$(wc -l <"$dir/err") $(grep -cF -- "$3" "$dir/err")"
}
gzip -c "$dir/plain" >"$dir/packed"
refused_whole "a compressed file" "$dir/packed" "gzip -dc"
iconv -f UTF-8 -t UTF-16 "$dir/plain" >"$dir/utf16"
refused_whole "UTF-16" "$dir/utf16" "iconv -f UTF-16 -t UTF-8"
jq . "$dir/plain" >"$dir/pretty"
refused_whole "a file for people" "$dir/pretty" "jq -c ."
jq -s . "$dir/plain" >"$dir/pretty"
refused_whole "an array for people" "$dir/pretty" "jq -c '.[]'"
jq -c -s . "$dir/plain" >"$dir/pretty"
refused_whole "an array on one line" "$dir/pretty" "jq -c '.[]'"
refused_whole "a program" "$top_builddir/headgate-publish" "binary data"

"$top_builddir/headgate-publish" --rejects >(cat >"$dir/kept") <(echo nonsense; cat "$dir/unix") 2>"$dir/err"
is "files and rejects may be pipes of the shell" 65 $?
ok "and what is refused comes out" wait_for 20 eval '[ "$(cat "$dir/kept")" = nonsense ]'
"$top_builddir/headgate-publish" -c <(headgatectl config 2>"$dir/null") "$dir/unix" 2>"$dir/err"
is "a configuration may not" 78 $?
ok "which is said" grep -q 'not a plain file' "$dir/err"

head -c 3000000 /dev/zero | tr '\0' x >"$dir/long"
echo >>"$dir/long"
publish --rejects "$dir/rejects" "$dir/long"
is "a line of 3 MB is refused" 65 $?
ok "and kept whole" cmp -s "$dir/long" "$dir/rejects"
publish "$dir/missing"
is "a missing file" 66 $?
"$top_builddir/headgate-publish" --receipts "$dir/sns" "$dir" >"$dir/receipts" 2>"$dir/err"
is "a file that cannot be read" 66 $?
is "what was read before has its receipt" 1 "$(grep -c '"status":200' "$dir/receipts")"
ok "and is counted" grep -q '^headgate-publish: 1 lines are durable' "$dir/err"
mkfifo "$dir/trickle"
start hung headgate-publish --receipts "$dir/trickle" >"$dir/hung.receipts"
exec 3>"$dir/trickle"
cat "$dir/sns" >&3
wait_for 20 [ -s "$dir/hung.receipts" ]
kill -HUP "$hung"
wait "$hung" 2>/dev/null
is "a terminal that hangs up ends it" 129 $?
ok "with what is durable" grep -q 'lines are durable' "$dir/headgate-publish.log"
exec 3>&-
mkfifo "$dir/nobody"
start hung headgate-publish --receipts "$dir/sns" "$dir/nobody" >"$dir/hung.receipts"
ok "a FIFO that nobody writes to keeps no receipt back" wait_for 20 [ -s "$dir/hung.receipts" ]
stop "$hung" 2>/dev/null
is "nor SIGTERM" 143 $?
is "which is no error of the FIFO" 0 "$(grep -c "$dir/nobody" "$dir/headgate-publish.log")"
start hung headgate-publish "$dir/nobody"
cat "$dir/sns" >"$dir/nobody"
wait "$hung"
is "what comes is read to its end" 0 $?
publish -t no-such-topic </dev/null
is "a topic that is not there" 64 $?
"$top_builddir/headgate-publish" -t transaction-procesing </dev/null 2>"$dir/err"
ok "the one that was meant is named" grep -q 'did you mean transaction-processing?' "$dir/err"
"$top_builddir/headgate-publish" --receits </dev/null 2>"$dir/err"
is "an option that is not there" 64 $?
ok "is said in few lines" [ "$(wc -l <"$dir/err")" -le 3 ]
ok "with the one that was meant" grep -q 'did you mean --receipts?' "$dir/err"
timeout -k 10 100 "$top_builddir/headgate-publish" <&- 2>"$dir/err"
is "standard input that is closed" 66 $?
timeout -k 10 100 "$top_builddir/headgate-publish" --receipts <"$dir/sns" 2>"$dir/err" >&-
is "standard output that is closed" 74 $?
"$top_builddir/headgate-publish" -D "$dir/none" --wait 100ms "$dir/sns" 2>"$dir/err"
is "no router" 69 $?
ok "says what to do" grep -q 'start it with: headgate-router' "$dir/err"
ok "and that the directory is not there" grep -q "there is no directory $dir/none/run" "$dir/err"

kill -STOP "$router"
"$top_builddir/headgate-publish" --wait 300ms "$dir/sns" 2>"$dir/err"
is "a router that hangs" 69 $?
ok "is named" grep -q "the router (pid $router) .*does not answer.*: see headgatectl .*status" "$dir/err"
is "and none is to be started beside it" 0 "$(grep -c 'start it with' "$dir/err")"
kill -CONT "$router"

# A directory that another user made first is not trusted with messages.
if [ "$(id -u)" = 0 ]; then
  # Where they can get at the programs, wherever these were built.
  foreign=$dir/foreign
  mkdir -m 755 "$foreign" "$dir/bin"
  cp "$top_builddir/headgate-router" "$top_builddir/headgate-publish" "$top_builddir/headgatectl" "$dir/bin/"
  chmod 711 "$dir"
  chown 65533:65533 "$foreign"
  as() { # as UID COMMAND...
    setpriv --reuid="$1" --regid="$1" --clear-groups "${@:2}"
  }
  as 65533 "$dir/bin/headgate-router" -D "$foreign" 2>>"$dir/foreign.log" &
  foreign_router=$!
  wait_for 20 grep -q '"router.ready"' "$dir/foreign.log"
  chmod 755 "$foreign" "$foreign/run"
  chmod 777 "$foreign/run/router.sock"
  chmod 644 "$foreign/run/control"
  as 65534 "$dir/bin/headgate-publish" -D "$foreign" --receipts <"$dir/sns" >"$dir/receipts" 2>"$dir/err"
  is "another user's router is not trusted" "77 0" "$? $(wc -l <"$dir/receipts")"
  ok "it says why" grep -q 'another user listens there' "$dir/err"
  as 65534 "$dir/bin/headgatectl" -D "$foreign" status >"$dir/out" 2>&1
  is "nor is its control segment" 77 $?
  cp "$top_builddir/headgate-publish" "$dir/bin/"
  chmod 755 "$dir/run"
  chmod 777 "$dir/run/router.sock"
  as 65534 "$dir/bin/headgate-publish" --wait 300ms <"$dir/sns" 2>"$dir/err"
  is "a router of root takes nothing from others" 77 $?
  ok "and says whose it is" grep -q "not permitted: run as the router's user" "$dir/err"
  chmod 700 "$dir/run"
  as 65534 "$dir/bin/headgate-publish" --wait 300ms <"$dir/sns" 2>"$dir/err"
  is "nor can they reach it" 77 $?
  ok "and are told who can" grep -q "publish as the router's user, or as root" "$dir/err"
  kill -TERM $foreign_router
  wait $foreign_router
fi
done_testing
