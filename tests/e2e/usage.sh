#!/bin/bash
# headgatectl's command line: errors are one line that says where to look, commands may be abbreviated, help says what
# each takes, and tables fit the line.
. "$top_srcdir/tests/lib.sh"

ctl() { "$top_builddir/headgatectl" "$@" 2>"$dir/ctl.err"; }
says() { # says TEXT ARGUMENT...: a usage error of one line
  wanted=$1
  shift
  ctl "$@" >"$dir/out"
  is "headgatectl $*" "64 1 headgatectl: $wanted" "$? $(cat "$dir/out" "$dir/ctl.err" | wc -l) $(cat "$dir/ctl.err")"
}

echo "# one line"
says "which command? See: headgatectl help"
says "sttaus: no such command; did you mean status? Or see: headgatectl help" sttaus
says "xyzzy: no such command; see: headgatectl help" xyzzy
says "dead lst: no such command; did you mean dead list? Or see: headgatectl help" dead lst
says "dead: which one: dead list, dead show, dead redrive, dead purge?" dead
says "sta: which one: status, start?" sta payment-processing
says "--jsn: no such option; did you mean --json? Or see: headgatectl help" status --jsn
says "--re: which one: --reason, --ready, --reveal?" status --re
says "-n needs a value; see: headgatectl help" peek -n
says "--count needs a value; see: headgatectl help" peek payment-processing --count
says "--json takes no value; see: headgatectl help" status --json=1
says "-x: no such option; see: headgatectl help" -x
says "status does not take --salvage" status --salvage
says "payment-procesing: there is no queue of this name (the built-in configuration); did you mean payment-processing?" \
  status payment-procesing
says "nothing-like-it: there is no queue of this name (the built-in configuration); there are:\
 bank-account-setup, payment-processing, subscription-control, bank-account-setup-dlq, payment-processing-dlq,\
 subscription-control-dlq" status nothing-like-it
for program in headgate-router headgate-publish headgate-payment headgate-subscription-manager; do
  "$top_builddir/$program" --no-such-option >"$dir/out" 2>&1
  is "$program: one line, too" "64 1" "$? $(wc -l <"$dir/out")"
  ok "which says where to look" grep -q "^$program: --no-such-option: no such option.*see: $program --help\$" "$dir/out"
done
empty_value() { # empty_value PROGRAM OPTION: a usage error of one line, which names the option
  "$top_builddir/$1" "$2" '' >"$dir/out" 2>&1 </dev/null
  is "$1 $2 ''" "64 1" "$? $(wc -l <"$dir/out")"
  ok "which names it" grep -q -- "^$1: $2: its value is empty; see: $1 " "$dir/out"
}
for program in headgate-router headgate-publish headgate-payment headgate-subscription-manager headgatectl; do
  for option in -c -D --config --directory; do
    empty_value "$program" "$option"
  done
done
for program in headgate-router headgate-payment headgate-subscription-manager; do
  empty_value "$program" --log
  empty_value "$program" --wait
done
for option in --topic --rejects --wait; do
  empty_value headgate-publish "$option"
done
for option in --group --message --to -t -n; do
  empty_value headgatectl "$option"
done
for program in "headgate-router --wait" "headgate-payment --wait" "headgate-publish --wait" "headgatectl wait -t"; do
  # shellcheck disable=SC2086 # its words
  "$top_builddir/"$program 999999999d >"$dir/out" 2>&1 </dev/null
  is "$program 999999999d" "64 1 too long: at most 213503d" \
    "$? $(wc -l <"$dir/out") $(grep -o 'too long: .*' "$dir/out")"
done
ctl stop --reason '' payment-processing >"$dir/out"
is "a reason may be empty: the queue is to be stopped with none" 69 $?
printf 'topic t { group_by = {g} }\nqueue q { topic = t lane = 3 }\n' >"$dir/conf"
ctl -c "$dir/conf" config >"$dir/out"
is "a setting that was meant" "78 headgatectl: $dir/conf:2: no such option 'lane'; did you mean lanes?" "$? $(cat "$dir/ctl.err")"

echo "# abbreviations and help"
is "stat is status" "$(ctl status)" "$(ctl stat)"
is "d l is dead list" "$(ctl dead list payment-processing; echo $?)" "$(ctl d l payment-processing; echo $?)"
ctl stop --help >"$dir/out"
is "COMMAND --help" 0 $?
ok "says what it takes" grep -q -- '--drain ' "$dir/out"
ok "and nothing else" eval '! grep -q -- "--salvage" "$dir/out"'
is "help COMMAND is the same" "$(cat "$dir/out")" "$(ctl help sto)"
is "help is --help" "$(ctl --help)" "$(ctl help)"
is "help of two words" 1 "$(ctl help dead show | grep -c 'dead show \[')"

echo "# what is printed fits 80 columns"
long=a-queue-with-a-name-that-is-nearly-as-long-as-it-may-be
cat >"$dir/conf" <<EOC
topic events { group_by = {customer_id} dedup_by = {message_id} }
queue $long { topic = events }
queue short { topic = events }
EOC
start router headgate-router -c "$dir/conf"
wait_for 20 ready
for i in 1 2 3; do
  echo "{\"customer_id\":\"A-CUSTOMER-WITH-A-LONG-NAME-OF-ITS-OWN-$i\",\"message_id\":\"0190b9a2-0000-7000-8000-00000000000$i\"}"
done | publish -c "$dir/conf" -t events
ctl wait -t 20
widest() { awk '/^$/ { exit } { if (length > widest) widest = length } END { print widest }' "$1"; } # of the table's lines
ctl status | sed 1,2d >"$dir/out"
ok "status: $(widest "$dir/out")" [ "$(widest "$dir/out")" -le 80 ]
ok "the name is shortened, the others are not" eval 'grep -q "^a-queue-with[^ ]*~ " "$dir/out" && grep -q "^short " "$dir/out"'
ctl status -v | sed 1,4d >"$dir/out"
ok "status -v: $(widest "$dir/out")" [ "$(widest "$dir/out")" -le 80 ]
ok "with what was published twice" grep -q ' DUPS ' "$dir/out"
ok "and what topics refused" grep -q '^TOPIC  *PUBLISHED  *DUPLICATES  *UNROUTABLE  *REFUSED' "$dir/out"
ctl status --wide >"$dir/out"
ok "--wide shortens nothing" grep -q "^$long  " "$dir/out"
ctl peek short | grep -v '^    {' >"$dir/out"
ok "peek: $(widest "$dir/out")" [ "$(widest "$dir/out")" -le 80 ]
ctl peek --wide short >"$dir/out"
ok "--wide shows the whole id" grep -q " 0190b9a2-0000-7000-8000-000000000001  A-CUSTOMER-WITH-A-LONG-NAME-OF-ITS-OWN-1\$" "$dir/out"
stop "$router"
ctl -c "$dir/conf" check -v >"$dir/out"
ok "check -v" [ "$(grep '^    ' "$dir/out" | awk '{ if (length > w) w = length } END { print w }')" -le 80 ]

echo "# a screen"
screen() { # screen TERM: what status --watch prints there in two seconds
  timeout 10 script -qec "TERM=$1 timeout 2 $top_builddir/headgatectl status --watch" /dev/null </dev/null >"$dir/screen" 2>/dev/null
}
if command -v script >/dev/null; then
  start router headgate-router -c "$dir/conf"
  wait_for 20 ctl -c "$dir/conf" wait -t 1
  screen xterm
  ok "rates" grep -q 'IN/S.*OUT/S' "$dir/screen"
  ok "it is written over, and never cleared first" eval 'grep -q "$(printf "\033\\[H")" "$dir/screen" && ! grep -q "$(printf "\033\\[2J")" "$dir/screen"'
  ok "in colours" grep -q "$(printf '\033\\[32m')RUNNING" "$dir/screen"
  screen dumb
  ok "a dumb one has neither" eval '! grep -q "$(printf "\033")" "$dir/screen"'
fi
done_testing
