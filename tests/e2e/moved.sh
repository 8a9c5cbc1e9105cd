#!/bin/bash
# Files and directories are moved away under a running router, replaced, or covered by a file system: their names are
# there, or could be, but they are not the files that the router has open.
. "${top_srcdir:?}/tests/lib.sh"

cat >"$dir/conf" <<'END'
topic events { group_by = {customer_id} dedup_by = {message_id} }
queue events { topic = events dead_letter_queue = dead }
END
log=$dir/headgate-router.log
state=$dir/state
events=$state/queues/events
ctl() { "$top_builddir/headgatectl" -c "$dir/conf" "$@"; }
up() { ctl wait --ready -t 1; }
field() { ctl status --json | jq -r ".queues[] | select(.name == \"${2:-events}\") | .$1"; }
send() { # send FIRST LAST ARGUMENT...
  seq "$1" "$2" | sed 's|.*|{"customer_id":"C","n":&,"message_id":"m&"}|' | publish -c "$dir/conf" "${@:3}"
}
count() { grep -c "$1" "$log"; }
restored() { [ "$(count "\"router.file_restored\".*$1\"")" -ge "$2" ]; }
refused() { [ "$(field refuses "${1:-events}")" = "its log's files were removed or moved" ]; }
router() { # router COMMAND...: in front of it
  : >"$log"
  "$@" "$top_builddir/headgate-router" -c "$dir/conf" 2>>"$log" &
  router=$!
  wait_for 20 up
}
refuses() { # refuses HOW: no message is acknowledged that the next start would not find
  ok "$1: the queue takes no messages" wait_for 20 refused
  send 4 6 --wait 0
  is "... a publisher is asked to try again" 75 $?
  ok "... the event names the directory" [ "$(count '"log.files_gone".*queues/events"')" = 1 ]
  ctl status >"$dir/screen"
  ok "... status says where to read on" grep -q '"Log files were removed or moved"' "$dir/screen"
  ctl peek events >"$dir/peeked" 2>&1
  is "... peek says that the messages cannot be read" 65 $?
  ok "... and where to read on" grep -q '^headgatectl: events: .*"Log files were removed or moved"' "$dir/peeked"
}
goes_on() { # goes_on COMMAND...: that brings the files back, after the router's end
  stop "$router"
  is "... the router ends in order" 0 $?
  "$@"
  is "... all is whole" 0 "$(ctl check >"$dir/check"; echo $?)"
  router
  is "... the next has what was acknowledged" "STOPPED 3" "$(field state) $(field depth)"
}

router
ctl stop events
send 1 3

echo "# directories"
mv "$state/queues" "$dir/away"
refuses "all logs are moved"
goes_on mv "$dir/away" "$state/queues"

mv "$events" "$dir/away"
refuses "a log is moved"
mv "$dir/away" "$events"
goes_on true

mv "$events" "$dir/away"
cp -r "$dir/away" "$events"
refuses "a log is replaced by a copy"
rm -r "$events"
goes_on mv "$dir/away" "$events"

echo "# commands that read messages"
mv "$state/queues" "$dir/away"
ok "all logs are moved: noticed" wait_for 20 refused dead
wait_for 20 refused
for command in "peek events" "dead list dead" "dead list events" "dead show dead" "dead redrive --to events dead" \
  "dead purge --force dead"; do
  # shellcheck disable=SC2086 # words
  ctl $command >"$dir/answer" 2>"$dir/why"
  is "... $command: ends with 65, and shows nothing" "65 " "$? $(cat "$dir/answer")"
  ok "... and says where to read on" grep -q '"Log files were removed or moved"' "$dir/why"
done
goes_on mv "$dir/away" "$state/queues"
is "... which peek shows" 3 "$(ctl peek --json events | wc -l)"

echo "# files"
newest=$(find "$events" -name '*.log' | sort | tail -n 1)
mv "$newest" "$dir/away"
refuses "a file of a log is moved"
goes_on mv "$dir/away" "$newest"

echo "# the state directory"
mv "$state" "$dir/away"
refuses "STATE is moved"
mkdir -m 700 "$dir/other"
ln -s "$dir/away" "$dir/other/state"
"$top_builddir/headgate-router" -c "$dir/conf" -D "$dir/other" 2>"$dir/second"
is "... no other router writes to what was moved" 75 $?
ok "... and it says who does" grep -q "another router runs here, process $router\$" "$dir/second"
rm -r "$state"
mv "$dir/away" "$state"
goes_on true
stop "$router"

echo "# what is in RUN"
router
other_file() { : >"$dir/replaced" && mv "$dir/replaced" "$dir/run/$1"; }
other_file router.sock
ok "a socket that was replaced is made again" wait_for 20 restored router.sock 1
mv "$dir/run/router.sock" "$dir/away"
ok "and one that was moved" wait_for 20 restored router.sock 2
cp "$dir/run/control" "$dir/replaced"
mv "$dir/replaced" "$dir/run/control"
ok "so is the control segment" wait_for 20 restored control 1
other_file headgate-router.pid
ok "the pid file" wait_for 20 restored headgate-router.pid 1
other_file router.lock
ok "and the lock" wait_for 20 restored run 1
is "what is said is true" "STOPPED 3" "$(field state) $(field depth)"
mv "$dir/run" "$dir/old-run"
ok "RUN that was moved is made again" wait_for 20 restored router.sock 3
is "with all that stood in it" "STOPPED 3" "$(field state) $(field depth)"
stop "$router"

echo "# a file system over it"
if unshare -m mount -t tmpfs tmpfs "$state" 2>/dev/null; then
  router unshare -m
  nsenter -t "$router" -m mount -t tmpfs -o size=50M,mode=700 tmpfs "$state"
  refuses "STATE is covered"
  goes_on true # its mount namespace ends with it
  stop "$router"
else
  echo "# skipped: nothing may be mounted"
fi
done_testing
