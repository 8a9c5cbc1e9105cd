#!/bin/bash
# What a router reads back from the disk cannot be read for a while: there is no descriptor, no memory, or the disk
# does not answer. That is no damage: no gate is closed, no message is lost or given up for it, and it goes on by
# itself.
. "${top_srcdir:?}/tests/faults/lib.sh"

export ASAN_OPTIONS=verify_asan_link_order=0
ctl() { "$top_builddir/headgatectl" -c "$dir/conf" "$@"; }
up() { ctl wait --ready -t 1; }
field() { ctl status --json | jq -r ".queues[] | select(.name == \"$1\") | .$2"; }
says() { grep -q "$2" "$dir/$1.log"; }
handled() { [ "$(grep -c . "$dir/journal")" -ge "$1" ]; }
none_reads() { rm -f "$dir/gone" "$dir/done"; }
all_read() { : >"$dir/gone"; }
is_at() { awk -v n="$1" '$5 == n { found = 1 } END { exit !found }' "$dir/journal"; }

count=1400 # of 8 KB: more than the 8 MB that the router keeps in memory
filler=$(printf '%8000s' '')
seq $count | sed "s|.*|{\"customer_id\":\"C&\",\"n\":&,\"message_id\":\"m&\",\"filler\":\"$filler\"}|" >"$dir/in"

try() { # try CALL HOW POLICY
  call=$1 how=$2
  echo "# $call fails with $how, $3"
  cat >"$dir/conf" <<EOF
topic events { group_by = {customer_id} dedup_by = {message_id} }
queue events { topic = events  retry_base = 50ms  $3 }
EOF
  clear_all
  rm -f "$dir"/journal*
  : >"$dir/journal"
  all_read
  env LD_PRELOAD="$faults/fail.so" FAIL_CALL="$call" FAIL_AT=1 FAIL_FROM=1 FAIL_HOW="$how" FAIL_DONE="$dir/done" \
    FAIL_GONE="$dir/gone" FAIL_UNDER="$dir/state/queues/events" \
    "$faults/headgate-router" --io=poll -c "$dir/conf" 2>>"$dir/router.log" &
  router=$!
  wait_for 60 up
  publish -c "$dir/conf" --wait 20 "$dir/in"
  touch "$dir/journal.C3" "$dir/journal.hold.C3"
  "$top_builddir/tests/journal-worker" events "$dir/journal" -c "$dir/conf" 2>>"$dir/worker.log" &
  worker=$!
  wait_for 60 is_at 3
  none_reads
  rm "$dir/journal.hold.C3"
  ok "a message fails, and cannot be read again" wait_for 60 says router '"log.not_read"'
  is "the gate stays open" RUNNING "$(field events state)"
  is "nobody has lost a life" 0 "$(grep -c '"message.not_survived"\|"worker.gone"' "$dir/router.log")"
  all_read
  case $3 in *retry_max*) ;; *) wait_for 60 says router '"group.blocked"' ; rm "$dir/journal.C3" ;; esac
  ok "it goes on by itself" ctl wait --empty -t 60 events
  is "each was handled, once but for the one that failed" "$count" "$(cut -d' ' -f5 "$dir/journal" | sort -u | wc -l)"
  is "it is known what was the matter" "$(strerror "$how")" \
    "$(grep -m1 '"log.not_read"' "$dir/router.log" | jq -r .error)"
  is "nothing was called damaged" 0 "$(grep -ci damage "$dir/router.log")"
  is "the worker stayed" 0 "$(grep -c '"worker.gone"' "$dir/router.log")"
  case $3 in *retry_max*) is "it is a dead letter" 1 "$(field events-dlq depth)" ;; esac
  stop "$worker"
  stop "$router"
}
strerror() {
  case $1 in
    EMFILE) echo "Too many open files" ;;
    ENFILE) echo "Too many open files in system" ;;
    ENOMEM) echo "Cannot allocate memory" ;;
    EIO) echo "Input/output error" ;;
  esac
}

try open EMFILE "server_error = block-group"
try open ENOMEM "server_error = retry  retry_max = 1"
try pread EIO "server_error = block-group"
try pread ENFILE "server_error = retry  retry_max = 1"
done_testing
