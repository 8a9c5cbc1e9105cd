#!/bin/bash
# A disk that is full comes back by itself: STATE is a partition of 24 MB here.
. "$top_srcdir/tests/lib.sh"

mounted=
unmount() {
  kill_all
  [ -z "$mounted" ] || wait_for 10 umount "$dir/state" # the services' own children end a moment later
  rm -rf "$dir"
}
trap unmount EXIT
mkdir "$dir/state"
if ! mount -t tmpfs -o size=24m,mode=700 headgate-test "$dir/state" 2>"$dir/mount.err"; then
  echo "1..0 # SKIP a file system cannot be mounted here"
  exit 0
fi
mounted=1

pay() { # pay PREFIX COUNT BYTES: payments with a body of so many bytes more
  awk -v prefix="$1" -v count="$2" -v bytes="$3" 'BEGIN {
    for (pad = "x"; length(pad) < bytes; pad = pad pad);
    pad = substr(pad, 1, bytes)
    for (i = 1; i <= count; i++)
      printf "{\"customer_id\":\"C%d\",\"transaction_type\":\"payment\",\"message_id\":\"%s-%d\",\"amount\":1,\"payment_method\":\"card\",\"pad\":\"%s\"}\n", i % 50, prefix, i, pad }'
}
free_kib() {
  df --output=avail -k "$dir/state" | tail -n 1
}
empty() {
  "$top_builddir/headgatectl" wait --empty -t 30
}
pile() { # pile PREFIX: until the disk takes no more
  pay "$1" 3000 9000 | publish --wait 2
  is "$1: a full disk asks publishers to try again" 75 $?
}

# An empty queue takes messages, whatever the size of a segment would be otherwise.
start_all
"$top_builddir/headgatectl" stop payment-processing
pile first
"$top_builddir/headgatectl" start payment-processing
ok "what waited is handled" empty
pay second 20 9000 | publish --wait 20
is "an empty queue takes messages again" 0 $?
stop "$router"
: >"$dir/headgate-router.log"
start router headgate-router
ok "the router starts" wait_for 20 ready
pay third 20 9000 | publish --wait 20
is "also after a start" 0 $?
ok "they are handled" empty
done_testing
