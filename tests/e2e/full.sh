#!/bin/bash
# A disk that is full comes back by itself: STATE is a partition of 24 MB here.
. "$top_srcdir/tests/lib.sh"

mounted=
unmount() {
  kill_all
  [ -z "$mounted" ] || wait_for 10 umount "$dir/state" # the services' own children end a moment later
  mounted=
}
trap 'unmount; rm -rf "$dir"' EXIT
new_disk() { # nothing runs, STATE is empty
  unmount
  pids=
  rm -f "$dir"/*.log
  mkdir -p "$dir/state"
  mount -t tmpfs -o size=24m,mode=700 headgate-test "$dir/state" 2>>"$dir/mount.err" && mounted=1
}
if ! new_disk; then
  echo "1..0 # SKIP a file system cannot be mounted here"
  exit 0
fi

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
fill() { # with a file, until nothing is free
  dd if=/dev/zero of="$dir/state/filler" bs=4096 status=none 2>/dev/null
  [ "$(free_kib)" -eq 0 ]
}
has_free() { # has_free KIB
  [ "$(free_kib)" -ge "$1" ]
}
first_segment() { # number of the payments' oldest one
  ls "$dir/state/queues/payment-processing" | sed -n 's/^0*\([0-9a-f]*\)\.log$/\1/p' | head -n 1
}
is_freed() { # is_freed NUMBER: the segment, and all before it
  [ $((16#$(first_segment))) -gt "$1" ]
}
last_segment() {
  printf '%d\n' "0x$(ls "$dir/state/queues/payment-processing" | sed -n 's/\.log$//p' | tail -n 1)"
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
pay second 20 9000 >"$dir/few"
publish --wait 20 <"$dir/few"
is "an empty queue takes messages again" 0 $?
stop "$router"
: >"$dir/headgate-router.log"
start router headgate-router
ok "the router starts" wait_for 20 ready
pay third 20 9000 | publish --wait 20
is "also after a start" 0 $?
ok "they are handled" empty

# With not a byte free, what is settled is given back, though what its ids need must be written first.
new_disk
mkdir "$dir/stores"
ln -s "$dir/stores" "$dir/state/stores"
start_all
"$top_builddir/headgatectl" stop payment-processing
pile first
ok "nothing is free" fill
last=$(last_segment)
"$top_builddir/headgatectl" start payment-processing
ok "what waited is handled" empty
ok "all but the last segments are given back" wait_for 20 is_freed $((last - 2))
ok "the disk has room again" wait_for 20 has_free 5000
publish --wait 20 <"$dir/few"
is "an empty queue takes messages again" 0 $?
is "duplicates of freed messages are known" 20 \
  "$(pay first 20 9000 | publish --receipts | jq -c 'select(.duplicate)' | wc -l)"

# The router may take the room first, for a segment, and give it back a little later: then once more.
opened() {
  "$top_builddir/headgatectl" start payment-processing >/dev/null 2>&1
  "$top_builddir/headgatectl" wait --empty -t 5 payment-processing >/dev/null 2>&1
}

# With the stores on that disk the gate trips; some megabytes and a start are all that it needs.
new_disk
rm -rf "$dir/stores"
fallocate -l 14M "$dir/state/rubbish" # more than a segment and a store need
start_all
"$top_builddir/headgatectl" stop payment-processing
pile first
ok "nothing is free" fill
"$top_builddir/headgatectl" start payment-processing
ok "the gate trips" "$top_builddir/headgatectl" wait --state TRIPPED -t 20 payment-processing
ok "its error says that the disk is full" \
  eval '"$top_builddir/headgatectl" status payment-processing | grep -q "database or disk is full"'
rm "$dir/state/rubbish"
ok "it is opened when there is room, and what waited is handled" wait_for 60 opened
is "none of it twice" "$(payments 'SELECT count(*) FROM payments')" \
  "$(payments 'SELECT count(DISTINCT message_id) FROM payments')"
publish --wait 20 <"$dir/few"
is "an empty queue takes messages again" 0 $?

# What an idle queue keeps for later is given to the one that needs it.
accounts_files() {
  ls "$dir/state/queues/bank-account-setup" | grep -cE '\.(log|free)$'
}
keeps() { # keeps COUNT: files of the accounts' log
  [ "$(accounts_files)" -eq "$1" ]
}
new_disk
rm -rf "$dir/stores"
start_all
pay account 500 9000 | sed 's/"payment"/"bank_account_setup"/; s/"pad"/"routing_number":"123456789","account_number":"12345","pad"/' |
  publish --wait 20
ok "accounts are handled" empty
ok "their log has a segment, and one that is ready" wait_for 20 keeps 2
"$top_builddir/headgatectl" stop payment-processing
pile first
is "when the disk is full it has given back the second" 1 "$(accounts_files)"
ok "what waited is handled" wait_for 60 opened

# Another way out: the stores go to another disk.
rm -rf "$dir/stores"
new_disk
start_all
"$top_builddir/headgatectl" stop payment-processing
pile first
ok "nothing is free" fill
"$top_builddir/headgatectl" start payment-processing
ok "the gate trips" "$top_builddir/headgatectl" wait --state TRIPPED -t 20 payment-processing
stop "$payment"
stop "$account"
mv "$dir/state/stores" "$dir/stores"
ln -s "$dir/stores" "$dir/state/stores"
start payment headgate-payment
start account headgate-bank-account
"$top_builddir/headgatectl" start payment-processing
ok "what waited is handled with the stores elsewhere" empty
done_testing
