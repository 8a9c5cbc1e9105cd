#!/bin/bash
# Somebody removes files under a running router: cleaners of /tmp what is in RUN, which the router makes again; a
# person log files, which it cannot.
. "$top_srcdir/tests/lib.sh"

cat >"$dir/conf" <<'EOF'
topic events { group_by = {customer_id} dedup_by = {message_id} }
queue events { topic = events }
queue others { topic = events }
EOF
: >"$dir/journal"
ctl() { "$top_builddir/headgatectl" -c "$dir/conf" "$@"; }
up() { ctl wait --ready -t 1; }
field() { ctl status --json | jq -r ".queues[] | select(.name == \"$1\") | .$2"; }
says() { grep -q "$2" "$dir/$1.log"; }
send() { # send FIRST LAST
  seq "$1" "$2" | sed 's|.*|{"customer_id":"C","n":&,"message_id":"m&"}|' | publish -c "$dir/conf" --wait 20
}
handled() { [ "$(cut -d' ' -f5 "$dir/journal" | xargs)" = "$(seq "$1" | xargs)" ]; } # each once, in order
attached() { [ "$(grep -c '"worker.attached"' "$dir/worker.log")" -ge "$1" ]; }
restored() { [ "$(grep -c "\"router.file_restored\".*$1\"" "$dir/headgate-router.log")" -ge "$2" ]; }
worker() {
  "$top_builddir/tests/journal-worker" events "$dir/journal" -c "$dir/conf" 2>>"$dir/worker.log" &
  worker=$!
}
second_router() { # another one starts: its exit status; what it says is in $dir/second
  "$top_builddir/headgate-router" -c "$dir/conf" 2>"$dir/second"
}

start router headgate-router -c "$dir/conf"
wait_for 20 up
worker
wait_for 20 attached 1
send 1 10
wait_for 20 handled 10

echo "# RUN/control, and all locks"
ctl stop others
rm "$dir"/run/control "$dir"/run/*.lock "$dir"/run/*.pid
is "status finds the router, and waits for the segment" RUNNING "$(field events state)"
ok "the router made it again" wait_for 20 restored control 1
is "with all that stood in it" "STOPPED 10" "$(field others state) $(field others depth)"
ok "its lock file, too" wait_for 10 [ -e "$dir/run/router.lock" ]
ok "the worker attaches again" wait_for 20 attached 2
send 11 20
ok "and goes on, with each message once" wait_for 20 handled 20
is "it lost no life" 0 "$(grep -c '"message.not_survived"' "$dir/headgate-router.log")"
ok "a queue can be stopped" ctl stop events
ok "which its worker has seen" [ "$(field events state)" = STOPPED ]
ok "and started" ctl start events
second_router
is "a second router does not start" 75 $?
ok "it names the first" grep -q "another router runs here, process $router" "$dir/second"
stop "$worker"
worker
ok "a worker that is started again attaches" wait_for 20 attached 3
send 21 30
ok "and handles what comes" wait_for 20 handled 30

echo "# changes go on while the segment is removed again and again"
for _ in 1 2 3; do
  rm "$dir/run/control"
  ctl stop events >/dev/null && [ "$(field events state)" = STOPPED ] && ctl start events >/dev/null ||
    echo "# not stopped and started"
done 2>&1 | tee "$dir/changes"
ok "each is made" [ ! -s "$dir/changes" ]

echo "# RUN/router.sock"
rm "$dir/run/router.sock"
send 31 40
is "a publisher finds the router again" 0 $?
ok "the router made it again" wait_for 20 restored router.sock 1
ok "the messages are handled" wait_for 20 handled 40

echo "# all of RUN"
rm -r "$dir/run"
send 41 50
is "a publisher finds the router again" 0 $?
ok "the messages are handled" wait_for 20 handled 50
second_router
is "a second router does not start" 75 $?
ok "it names the first" grep -q "another router runs here, process $router" "$dir/second"

echo "# what cannot be made again"
count() { grep -c "$1" "$dir/headgate-router.log"; }
look() { # the router looks, whole: the socket is what it looks at last
  local before
  before=$(count '"router.file_restored".*router.sock"')
  rm "$dir/run/router.sock"
  wait_for 20 restored router.sock "$((before + 1))"
}
loop() { # STATE/router.lock becomes a link to itself, at once
  ln -s router.lock "$dir/loop"
  mv -T "$dir/loop" "$dir/state/router.lock"
}
mkdir "$dir/run/control.next"
rm "$dir/run/control"
loop
for _ in 1 2 3; do look; done
is "each place's reason is logged once" "1 1" \
  "$(count 'not_restored.*state/router.lock: Too many') $(count 'not_restored.*run/control: ')"
rmdir "$dir/run/control.next"
rm "$dir/state/router.lock"
look
is "it is made once it can be" "1 1" "$(count 'file_restored.*/state"') $(find "$dir/run/control" | wc -l)"
loop
look
is "and the reason is logged again when it comes again" 2 "$(count 'not_restored.*state/router.lock: Too many')"
rm "$dir/state/router.lock"
look
# poll(2) itself fails when it is given more descriptors than the limit.
if [ "${HEADGATE_IO:-}" != poll ]; then
  limit=$(prlimit --pid "$router" --nofile --noheadings --output SOFT)
  prlimit --pid "$router" --nofile=4:
  rm "$dir/run/router.sock"
  wait_for 20 says headgate-router '"router.not_listening".*Too many open'
  sockets=$(count 'file_restored.*router.sock')
  # Each of these is missed before the socket, in another look.
  rm "$dir/run/control"
  wait_for 20 says headgate-router 'not_restored.*run/control: Too many open'
  rm "$dir/state/router.lock"
  wait_for 20 says headgate-router 'not_restored.*state/router.lock: Too many open'
  is "so is a socket's" "1 0" \
    "$(count '"router.not_listening"') $(($(count 'file_restored.*router.sock') - sockets))"
  prlimit --pid "$router" --nofile="$limit:"
  ok "which is made once there are descriptors" wait_for 20 restored router.sock "$((sockets + 1))"
  ok "as are the others" wait_for 20 [ -e "$dir/run/control" -a -e "$dir/state/router.lock" ]
fi

echo "# what cleaners look at"
ok "RUN is locked as systemd-tmpfiles does it" eval '! flock -n "$dir/run" true'
ok "so is STATE" eval '! flock -n "$dir/state" true'

echo "# log files"
ctl stop events
send 51 60
before=$(ls "$dir/state/queues/events")
rm -r "$dir/state/queues/events"
refused() { [ "$(field events refuses)" = "its log's files were removed or moved" ]; }
ok "the queue takes no messages" wait_for 20 refused
printf '{"customer_id":"C","n":0,"message_id":"later"}\n' |
  "$top_builddir/headgate-publish" -c "$dir/conf" --wait 5 2>"$dir/why"
is "a publisher is asked to try again" 75 $?
ok "and told why" grep -q "events: its log's files were removed or moved" "$dir/why"
ok "status says what to do" eval 'ctl status | grep -A2 "^events takes no messages" | grep -q "copy them before it ends"'
ok "the event names the directory" says headgate-router '"log.files_gone".*queues/events"'
recipes 'Log files were removed' |
  sed "s|RUN|$dir/run|g; s|STATE|$dir/state|g" >"$dir/recipe"
ok "the manual has a recipe" [ -s "$dir/recipe" ]
bash "$dir/recipe" >"$dir/recipe.out" 2>&1
is "which works" 0 $?
kill -KILL "$router" 2>/dev/null; wait "$router" 2>/dev/null
is "all is whole" 0 "$(ctl check >"$dir/check" 2>&1; echo $?)"
is "the files are back" "$before" "$(ls "$dir/state/queues/events")"
start router headgate-router -c "$dir/conf"
wait_for 20 up
is "with all messages" "STOPPED 10" "$(field events state) $(field events depth)"
ctl start events
ok "which are handled, once, in order" wait_for 20 handled 60
stop "$worker"
stop "$router"

echo "# an older file of a log, which the router does not have open"
: >"$dir/journal"
start router headgate-router -c "$dir/conf"
wait_for 20 up
filler=$(printf '%8000s' '')
seq 101 1700 | sed "s|.*|{\"customer_id\":\"C\",\"n\":&,\"message_id\":\"m&\",\"filler\":\"$filler\"}|" |
  publish -c "$dir/conf" --wait 60
rm "$dir/state/queues/events/0000000000000002.log"
worker
ok "the queue takes no messages once it is missed" wait_for 20 refused
is "its gate stays open" RUNNING "$(field events state)"
ok "the worker stays, and waits" grep -q '"log.not_read".*No such file or directory' "$dir/headgate-router.log"
kill -KILL "$worker" "$router"
wait "$worker" "$router" 2>/dev/null
for pid in $(programs); do kill -KILL "$pid" 2>/dev/null; done
rm -r "$dir/state"

echo "# STATE is a symbolic link"
start router headgate-router -c "$dir/conf"
wait_for 20 up
send 1 60
stop "$router"
mv "$dir/state" "$dir/elsewhere"
ln -s "$dir/elsewhere" "$dir/state"
start router headgate-router -c "$dir/conf"
ok "the router starts" wait_for 20 up
is "and finds its logs" 60 "$(field events published)"
ok "as headgatectl does" eval 'stop "$router" && ctl check >/dev/null'
rm "$dir/state"
ln -s "$dir/nowhere" "$dir/state"
second_router
is "a link to nothing is refused" 73 $?
ok "and called so" grep -q "a symbolic link to what is not there" "$dir/second"
done_testing
