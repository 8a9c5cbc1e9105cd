#!/bin/bash
# Directories that are not there, are none, are another user's, may not be written to, or are read-only: what each
# program says and ends with.
. "${top_srcdir:?}/tests/lib.sh"

other=65534
base=$dir/base
here=()
if [ "$(id -u)" -eq 0 ]; then
  # Root may do everything: as somebody else, who can get at the programs wherever they were built.
  mkdir "$dir/bin"
  for program in headgate-router headgate-payment headgate-publish headgatectl; do
    cp "$top_builddir/$program" "$dir/bin/"
  done
  chmod 711 "$dir"
  here=(setpriv --reuid=$other --regid=$other --clear-groups)
  bin=$dir/bin
  if ! "${here[@]}" "$bin/headgatectl" -V >/dev/null 2>&1; then
    echo "# skipped: setpriv, or programs that another user may run"
    done_testing
    exit
  fi
else
  bin=$top_builddir
fi

message='{"customer_id":"A","transaction_type":"payment","amount":1}'
program() { # program COMMAND...: its exit status goes into $status, what it says into $dir/said
  echo "$message" | "${here[@]}" timeout -s TERM 60 "$bin/$1" -D "$base" "${@:2}" >"$dir/out" 2>"$dir/said"
  status=$?
}
as_owner() { "${here[@]}" "$@"; }
new_base() { # with the directories of a router that ended
  chmod -R u+rwx "$base" 2>/dev/null
  rm -rf "$base"
  mkdir -m 700 "$base"
  [ ${#here[@]} -eq 0 ] || chown $other:$other "$base"
}
new_state() {
  new_base
  rm -f "$dir/made.log"
  "${here[@]}" "$bin/headgate-router" -D "$base" 2>"$dir/made.log" &
  made=$!
  wait_for 30 grep -q '"router.ready"' "$dir/made.log"
  stop $made
}
ends() { # ends WHAT ROUTER WORKER PUBLISH STATUS CHECK: with what it ends, and each names a place below the directory
  got=
  unnamed=
  for command in headgate-router headgate-payment "headgate-publish --wait 200ms" "headgatectl status" "headgatectl check"; do
    # shellcheck disable=SC2086 # its words
    set -- "$@" $command
    program ${command}
    got="$got $status"
    [ "$status" = 0 ] || grep -q "$base" "$dir/said" "$dir/out" || unnamed="$unnamed $command"
  done
  is "$1" " $2 $3 $4 $5 $6" "$got"
  is "... each names the place" "" "$unnamed"
}

echo "# what is there, and ends with (router, worker, publish, status, check)"
new_base
rmdir "$base"
as_owner touch "$base" 2>/dev/null || { touch "$base"; chown $other "$base"; }
ends "the base directory is a file" 73 73 69 0 66
says() { # says PROGRAM PLACE WORDS: what it is told of this place
  program "$1"
  is "$1 ends with" 73 $status
  ok "... and says what to do" grep -q "^$1: $2: $3\$" "$dir/said"
}
for program in headgate-router headgate-payment; do
  says $program "$base" "not a directory: move it away, or choose another one with -D"
done
rm "$base"
ln -s "$dir/nowhere" "$base"
chown -h $other "$base" 2>/dev/null
ends "the base directory is a link to nothing" 73 73 69 0 66
for program in headgate-router headgate-payment; do
  says $program "$base" "a symbolic link to what is not there: make that directory, or choose another one with -D"
done
rm "$base"
new_base
as_owner mkdir -p "$base/state/stores/payment-processing.db"
says headgate-payment "$base/state/stores/payment-processing.db" "not a plain file: move it away"
new_base
as_owner touch "$base/run"
ends "RUN is a file" 73 73 69 0 66
new_base
as_owner touch "$base/state"
ends "STATE is a file" 73 73 69 0 66
new_base
chmod 500 "$base"
ends "no directory can be made" 77 77 69 0 66
chmod 0 "$base"
ends "nothing may be looked at" 77 77 77 77 77
new_state
chmod 500 "$base/run"
ends "RUN may not be written to" 77 77 69 0 0
new_state
chmod 770 "$base/run"
ends "others may write to RUN" 77 77 69 0 0
new_state
chmod 770 "$base/state"
ends "others may write to STATE" 77 77 69 0 0
new_state
chmod 0 "$base/state/queues"
program headgate-router
is "STATE/queues is closed: the router" 77 $status
program headgatectl status
is "status" 77 $status
program headgatectl check
is "check" 77 $status
new_state
rm -r "$base/state/queues"
as_owner touch "$base/state/queues"
program headgate-router
is "STATE/queues is a file: the router" 73 $status
program headgatectl check
is "check" 71 $status
for name in router.sock control control.next router.lock; do
  new_state
  rm -rf "$base/run/$name"
  as_owner mkdir "$base/run/$name"
  program headgate-router
  is "RUN/$name is a directory: the router" "73 1" "$status $(grep -c "run/$name.*: Is a directory" "$dir/said")"
done
new_state
chmod 400 "$base"/state/queues/payment-processing/*.log
program headgate-router
is "a segment may not be written to: the router" 77 $status
program headgatectl check
is "check only reads" 0 $status

if [ "$(id -u)" -ne 0 ]; then
  echo "# skipped: not root"
  done_testing
  exit
fi

echo "# root, where another user's router ran"
name=$(id -un $other)
root() { # root COMMAND...
  timeout -s TERM 60 "$bin/$1" -D "$base" "${@:2}" >"$dir/out" 2>"$dir/said"
}
roots() { find "$base" ! -user $other; }
new_state
for program in headgate-router headgate-payment; do
  root $program
  is "$program is refused" 77 $?
  ok "... whose it is, and what to type" grep -q \
    "^$program: $base/run: belongs to user $name, and this is root: run this as that user: runuser -u $name -- COMMAND\$" "$dir/said"
done
root headgatectl status
is "status is not" 0 $?
root headgatectl check
is "nor check" 0 $?
rm "$base/state/router.lock"
root headgatectl check
is "nothing of root's is there" "" "$(roots)"
rm -f "$dir/made.log"
"${here[@]}" "$bin/headgate-router" -D "$base" 2>"$dir/made.log" &
made=$!
ok "the user's router starts" wait_for 30 grep -q '"router.ready"' "$dir/made.log"
root headgatectl stop payment-processing
is "root may stop its queue" 0 $?
echo "$message" | root headgate-publish
is "and publish to it" 0 $?
stop $made
is "nothing of root's is there" "" "$(roots)"
new_base
root headgate-router
is "an empty directory of a user is refused, too" 77 $?
ok "... and how root is meant" grep -q "or, if root is meant, make $base/run first\$" "$dir/said"
is "nothing is made" "" "$(ls "$base")"

echo "# a user, where root's router ran"
new_base
chown -R 0:0 "$base"
chmod 755 "$base"
mkdir -m 755 "$base/run" "$base/state"
for program in headgate-router headgate-payment; do
  program $program
  is "$program is refused" 77 $status
  ok "... whose it is" grep -q "^$program: $base/run: belongs to user root: run this as that user" "$dir/said"
done

echo "# a file system that is read-only"
new_state
# shellcheck disable=SC2016 # for the inner shell
read_only() { # read_only COMMAND...
  unshare -m sh -c 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"' "$base" "${here[@]}" "$bin/$1" -D "$base" \
    "${@:2}" >"$dir/out" 2>"$dir/said"
}
if read_only headgatectl -V 2>/dev/null; then
  for program in headgate-router headgate-payment; do
    read_only $program
    is "$program ends with" 73 $?
    ok "... and says why" grep -q "^$program: $base/.*: Read-only file system\$" "$dir/said"
  done
  read_only headgatectl status
  is "status only reads" 0 $?
  read_only headgatectl check
  is "so does check" 0 $?
else
  echo "# skipped: nothing may be mounted"
fi
done_testing
