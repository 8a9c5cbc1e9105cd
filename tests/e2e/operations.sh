#!/bin/bash
# The commands of headgate-operations(7) are commands: each is tried in the order of the page, on a queue that has
# tripped, has dead letters and a worker; those for a damaged log on one that is, those of the section on customers
# that wait on one with blocked groups.
. "$top_srcdir/tests/lib.sh"

pay() {
  printf '{"customer_id":"%s","transaction_type":"payment","amount":1,"payment_method":"card","message_id":"%s"}\n' "$1" "$2"
}
export PATH="$top_builddir:$PATH" # commands behind a pipe
ctl() { "$top_builddir/headgatectl" -c "$dir/conf" "$@"; }
section="Some customers' payments wait"
commands() { # commands [-v]: of that section, or of all others
  recipes "$@" "$section" | sed -n 's/ *#.*//; /^headgatectl /p'
}
again() { # again ARGUMENTS: starts what headgatectl with these has ended
  [[ $1 = *--workers* ]] || start router headgate-router
  [[ $1 = *--* ]] && start payment headgate-payment
  [[ $1 = *--* ]] && start account headgate-bank-account
  "$top_builddir/headgatectl" wait --workers -t 20
}
try() { # try FILE OPTION...: each of its commands
  file=$1
  shift
  while read -r program arguments; do
    [[ -z $ended && $arguments = check* ]] && damage_a_log
    limit=100
    [[ $arguments = *--watch* ]] && limit=3
    eval "timeout -k 10 $limit \"$top_builddir/$program\" $* $arguments" </dev/null >"$dir/out" 2>&1
    status=$?
    case "$arguments" in
      *--watch*) wanted=124 ;;
      # The cause is not mended: each of these closes the gate again.
      "start payment-processing" | "start --skip-head "*) wanted="0 75" ;;
      "stop --drain "*) wanted="0 75" ;; # nor is what is behind it handled
      check) wanted=65 ;;
      health) wanted=1 ;;
      shutdown*)
        wanted=0
        again "$arguments"
        ;;
      *--skip-head*) wanted=0 ;;
      "start --group "*) wanted=75 ;; # likewise
      *) wanted=0 ;;
    esac
    ok "headgatectl $arguments: $status" eval "[[ ' $wanted ' = *' $status '* ]]"
  done <"$file"
}
start_all
{ pay A-ERROR400 p1; pay B-ERROR500 p4; pay C p5; pay D-ERROR500 p6; } | publish
"$top_builddir/headgatectl" wait --state TRIPPED -t 20 payment-processing
commands -v >"$dir/commands"
ok "there are commands on the page" [ "$(wc -l <"$dir/commands")" -ge 12 ]
damage_a_log() { # as if a disk had done it: a byte of the first message, with no router
  ended=1
  stop "$payment"
  stop "$account"
  stop "$router"
  log=$dir/state/queues/payment-processing/0000000000000001.log
  at=$(grep -abo '"message_id":"p1"' "$log" | head -n 1 | cut -d: -f1)
  printf X | dd of="$log" bs=1 seek="$at" conv=notrunc status=none
}
ended=
try "$dir/commands"

rm -rf "$dir/state" "$dir/run"
cat >"$dir/conf" <<'EOC'
topic transaction-processing { group_by = {customer_id} dedup_by = {message_id} }
queue payment-processing { topic = transaction-processing server_error = block-group retry_base = 10m }
EOC
start router headgate-router -c "$dir/conf"
start payment headgate-payment -c "$dir/conf"
ctl wait --workers -t 20
{ pay B-ERROR500 p7; pay C p8; pay B-ERROR500 p9; } | publish -c "$dir/conf"
blocked() { [ "$(ctl peek --groups --json payment-processing | jq -r '"\(.message_id) \(.behind)"')" = "p7 1" ]; }
ok "a customer waits" wait_for 20 blocked
ctl stop payment-processing >"$dir/out"
ctl status >"$dir/out"
ok "behind a closed gate nothing is tried by itself" grep -q "1 group is blocked, with [0-9]* messages*; each is tried again when the gate is open" "$dir/out"
ctl start payment-processing >"$dir/out"
commands >"$dir/commands"
ok "there are commands for that" [ "$(wc -l <"$dir/commands")" -ge 6 ]
try "$dir/commands" -c "$dir/conf"
done_testing
