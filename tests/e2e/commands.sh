#!/bin/bash
# A command that is printed to be typed means the same instance in any shell: -c, -D, and the directories that XDG's variables
# chose stand in it.
. "$top_srcdir/tests/lib.sh"

home=$dir/home
bin=$dir/bin
mkdir -m 755 "$home" "$bin"
chmod 711 "$dir"
cp "$top_builddir"/headgate-{router,publish} "$top_builddir/headgatectl" "$bin"
printf 'topic t { group_by = {g} }\nqueue q { topic = t }\n' >"$home/conf"
as_user() { # root has other directories
  if [ "$(id -u)" = 0 ]; then
    setpriv --reuid=65533 --regid=65533 --clear-groups "$@"
  else
    "$@"
  fi
}
[ "$(id -u)" != 0 ] || chown -R 65533:65533 "$home"
here() { as_user env -u HEADGATE_DIR XDG_RUNTIME_DIR="$home/a run" XDG_STATE_HOME="$home/its state" HOME="$home" "$@"; }
elsewhere() { as_user env -i HOME="$home/other" PATH="$bin:$PATH" sh -c "$1"; }
run="$home/a run/headgate"
printed() { sed -n 's/.*start it with: \(.* -d\).*/\1/p' "$1"; }
lives() { here "$bin/headgatectl" wait -t 0; }

here "$bin/headgatectl" -c "$home/conf" stop --all 2>"$dir/err"
is "no router runs" 69 $?
start=$(printed "$dir/err")
ok "its start is printed" [ -n "$start" ]
elsewhere "$start" 2>"$dir/start.err"
is "and starts it, in another shell" 0 $?
ok "here" lives
ok "with its configuration" here "$bin/headgatectl" stop q
see=$(here "$bin/headgatectl" status | sed -n 's/.*next: *\(env .*\)/\1/p')
is "what is next does that" 0 "$(elsewhere "$see" >"$dir/out" 2>&1; echo $?)"
is "for this queue" "q: RUNNING" "$(cat "$dir/out")"
ok "it ends" here "$bin/headgatectl" shutdown

echo "# with no -c, where the last router had one"
for command in "headgatectl stop --all" "headgate-publish --wait 0 $home/conf"; do
  # shellcheck disable=SC2086
  here "$bin"/$command 2>"$dir/err"
  is "$command: no router runs" 69 $?
  is "it is to be started as it was" "$start" "$(printed "$dir/err")"
done
is "status says so, too" "$start" "$(here "$bin/headgatectl" status >"$dir/out"; printed "$dir/out")"

echo "# where the variables are not set"
as_user env -i HOME="$home" "$bin/headgatectl" stop --all 2>"$dir/err"
is "they are not to be set elsewhere" "env XDG_RUNTIME_DIR= XDG_STATE_HOME= headgate-router -d" "$(printed "$dir/err")"
[ ! -e "$run/headgate-router.pid" ] || kill -KILL "$(cat "$run/headgate-router.pid")" 2>/dev/null
done_testing
