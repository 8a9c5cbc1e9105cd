#!/bin/bash
# The whole base directory is removed under a router and its workers: all stay, are found and ended by headgatectl, and
# nothing that was acknowledged is lost.
. "$top_srcdir/tests/lib.sh"

base=$dir/above/base
ctl() { "$top_builddir/headgatectl" -D "$base" "$@" 2>"$dir/ctl.err"; }
pay() { # pay FIRST LAST ARGUMENT...
  seq "$1" "$2" | sed 's|.*|{"customer_id":"C","transaction_type":"payment","amount":1,"payment_method":"x","message_id":"m&"}|' |
    "$top_builddir/headgate-publish" -D "$base" "${@:3}" 2>"$dir/publish.err"
}
start_all_of() { # a router, a worker and its standby
  "$top_builddir/headgate-router" -D "$base" -d 2>>"$dir/d.log" &&
    "$top_builddir/headgate-payment" -D "$base" -d 2>>"$dir/d.log" &&
    "$top_builddir/headgate-payment" -D "$base" -d 2>>"$dir/d.log"
}
pids() { cat "$base"/run/*.pid 2>/dev/null | sort -n; }
back() { [ "$(pids)" = "$all" ]; }
field() { ctl status --json | jq -r ".queues[] | select(.name == \"payment-processing\") | .$1"; }
refused() { [ "$(field refuses)" = "its log's files were removed or moved" ]; }

ok "they start" start_all_of
all=$(pids)
is "router, worker and standby" 3 "$(wc -l <<<"$all")"
ctl stop payment-processing
pay 1 10
is "messages wait" 10 "$(field depth)"
files=$(ls "$base/state/queues/payment-processing")
rm -rf "$dir/above"

echo "# they are found"
ok "each makes its file again" wait_for 20 back
ok "the queue takes no messages" wait_for 20 refused
is "its state and what waits are known" "STOPPED 10" "$(field state) $(field depth)"
ctl status >"$dir/screen"
ok "status says what to do" eval 'grep -A2 "^payment-processing takes no messages" "$dir/screen" | grep -q "copy them before it ends"'
ctl health >"$dir/screen"
is "health: a person is needed" "1 1" "$? $(grep -c "^payment-processing: takes no messages: its log's files were removed or moved" "$dir/screen")"
pay 11 11 --wait 0
is "a publisher is asked to try again" 75 $?
ok "and told why" grep -q "payment-processing: its log's files were removed or moved" "$dir/publish.err"
ok "a log is made again, which says what happened" wait_for 20 grep -q '"log.files_gone"' "$base/state/headgate-router.log"
ok "the worker attaches again" ctl wait --workers -t 200 payment-processing
is "nobody else can read what is made" "700 700" "$(stat -c %a "$base/run" "$base/state" | xargs)"

echo "# what was acknowledged is had back"
recipes 'Log files were removed' |
  sed "s|RUN|$base/run|g; s|STATE|$base/state|g" >"$dir/recipe"
ok "the manual has a recipe" [ -s "$dir/recipe" ]
bash "$dir/recipe" >"$dir/recipe.out" 2>&1
is "which works" 0 $?
is "the files are back" "$files" "$(ls "$base/state/queues/payment-processing")"
whole() { ctl check >"$dir/check"; } # 75 while the worker looks at its directories
ok "all is whole" wait_for 20 whole
"$top_builddir/headgate-router" -D "$base" -d 2>>"$dir/d.log"
is "a router has it" "STOPPED 10" "$(field state) $(field depth)"
ctl start payment-processing
ok "it is handled" ctl wait --empty -t 200 payment-processing
is "each once" 10 "$(sqlite3 "$base/state/stores/payment-processing.db" 'SELECT count(*) FROM payments')"

echo "# they are ended"
all=$(pids)
rm -rf "$dir/above"
ok "each makes its file again" wait_for 20 back
old_log() { for pid in $(programs); do find "/proc/$pid/fd" -lname "$base/state/headgate-*.log (deleted)"; done | grep -q .; }
ok "and its log, which its children have, too" wait_for 20 eval '! old_log'
ctl shutdown --all >"$dir/out"
is "and is ended" "0 3" "$? $(grep -c ': ended$' "$dir/out")"
for pid in $all; do
  ok "$pid has ended" wait_for 20 eval '! kill -0 "$pid" 2>/dev/null'
done
ok "they start anew" start_all_of
is "with nothing" "RUNNING 0" "$(field state) $(field depth)"
ctl shutdown --all >"$dir/out"
done_testing
