#!/bin/bash
# A state directory on each file system that this machine has, with sectors of 512 and 4096 bytes: programs are killed,
# the file system is filled, and everything is handled once. What cannot be mounted is skipped, with a word.
[ "$(id -u)" -ne 0 ] || [ -n "${FILE_SYSTEMS_MOUNTS:-}" ] ||
  exec unshare -m env FILE_SYSTEMS_MOUNTS=1 "$0" "$@"
. "${top_srcdir:?}/tests/lib.sh"

count=1000
place=$dir/place
loop=
export PATH=$PATH:/usr/sbin:/sbin
mkdir "$place"
"$top_builddir/tests/generate" -n $count -c 8 -s 3 >"$dir/in"
ctl() { "$top_builddir/headgatectl" -D "$place/hg" "$@"; }
router_ready() { ctl wait --ready -t 1; }
program() { # program VARIABLE PROGRAM: on the file system
  "$top_builddir/$2" -D "$place/hg" 2>>"$dir/$2.log" &
  eval "$1=$!"
}
unmount() {
  kill_all
  umount "$place/hg/state" "$place" 2>/dev/null
  [ -z "$loop" ] || losetup -d "$loop"
  loop=
  rm -f "$dir/image"
}
trap 'unmount; cleanup' EXIT

on_loop() { # on_loop SECTOR MKFS...: an image of 320 MiB
  truncate -s 320M "$dir/image"
  loop=$(losetup --sector-size "$1" -f --show "$dir/image" 2>/dev/null) || return
  "${@:2}" "$loop" >/dev/null 2>&1 && mount "$loop" "$place" 2>/dev/null
}
on_tmpfs() { mount -t tmpfs -o size=320m tmpfs "$place" 2>/dev/null; }
on_overlay() { # over tmpfs, and that again is hidden by it
  on_tmpfs && mkdir "$place/upper" "$place/work" "$place/lower" &&
    mount -t overlay -o "lowerdir=$place/lower,upperdir=$place/upper,workdir=$place/work" overlay "$place" 2>/dev/null
}

rows() { # of both stores
  for queue in payment-processing:payments bank-account-setup:bank_accounts; do
    sqlite3 -cmd '.timeout 5000' "file:$place/hg/state/stores/${queue%:*}.db?mode=ro" "SELECT count(*) FROM ${queue#*:}" 2>/dev/null || echo 0
  done | awk '{ n += $1 } END { print n }'
}
is_stored() { [ "$(rows)" = $count ]; }
some_are_stored() { [ "$(rows)" -gt 0 ]; }

try() { # try NAME MOUNT...
  echo "# $1"
  if ! "${@:2}"; then
    echo "# skipped: $1 cannot be mounted here"
    unmount
    return
  fi
  program router headgate-router
  program payment headgate-payment
  program account headgate-bank-account
  ok "$1: a router starts" wait_for 60 router_ready
  head -n 300 "$dir/in" | "$top_builddir/headgate-publish" -D "$place/hg" --wait 60 2>"$dir/publish.err"
  is "$1: messages are taken" 0 $?
  wait_for 60 some_are_stored
  kill -KILL "$router" "$payment"
  wait "$router" "$payment" 2>/dev/null
  program router headgate-router
  program payment headgate-payment
  "$top_builddir/headgate-publish" -D "$place/hg" --wait 60 "$dir/in" 2>"$dir/publish.err"
  is "$1: and after a kill" 0 $?
  ok "$1: each is handled once" wait_for 120 is_stored
  ctl wait --empty -t 60
  stop "$router"
  is "$1: the router ends" 0 $?
  ctl check >"$dir/check.log" 2>&1
  is "$1: its logs are whole" 0 $?
  echo "# $1: $(stat -f -c 'type %T, block %s' "$place/hg/state"), $(grep -c state.copy_on_write "$dir/headgate-router.log") times copy on write"

  # Room that others take is no room for new segments; what is accepted is handled all the same.
  program router headgate-router
  wait_for 60 router_ready
  dd if=/dev/zero of="$place/hg/others" bs=1M status=none 2>/dev/null
  for n in $(seq 20); do
    awk -v n="$n" '{ sub(/"message_id":"/, "&full-" n "-"); print }' "$dir/in" |
      "$top_builddir/headgate-publish" -D "$place/hg" --wait 300ms 2>"$dir/publish.err" && continue
    break
  done
  rm "$place/hg/others"
  ctl start --all >/dev/null 2>&1 # a store that had no room closed its gate
  ok "$1: what was accepted on a full file system is handled" ctl wait --empty -t 60
  "$top_builddir/headgate-publish" -D "$place/hg" --wait 60 <<<'{"customer_id":"A","transaction_type":"payment","amount":1,"payment_method":"card"}' \
    2>"$dir/publish.err"
  is "$1: and messages are taken again" 0 $?
  stop "$router"
  is "$1: the router ends by itself" 0 $?
  ctl check >"$dir/check.log" 2>&1
  is "$1: its logs are whole then" 0 $?
  unmount
  rm -f "$dir"/headgate-*.log
}

if [ "$(id -u)" -ne 0 ]; then
  echo "# skipped: not root, so nothing can be mounted"
  ok "nothing to do" true
  done_testing
  exit
fi
for sector in 512 4096; do
  try "ext4, sectors of $sector" on_loop $sector mkfs.ext4 -q -b 4096
  try "xfs, sectors of $sector" on_loop $sector mkfs.xfs -q
  try "btrfs, sectors of $sector" on_loop $sector mkfs.btrfs -q
done
try "ext4, blocks of 1024" on_loop 512 mkfs.ext4 -q -b 1024
try "tmpfs" on_tmpfs
try "overlayfs on tmpfs" on_overlay
done_testing
