#!/bin/bash
# The ids of messages whose files were given back are remembered as hashes with a key. A key that is lost or damaged,
# or is not the one that they were hashed with, is noticed, and a person says when to go on without them.
. "$top_srcdir/tests/lib.sh"

ctl() { "$top_builddir/headgatectl" "$@" 2>"$dir/ctl.err"; }
key=$dir/state/dedup.key
log=$dir/state/queues/payment-processing
run_router() { # run_router ARGUMENT...
  : >"$dir/headgate-router.log"
  "$top_builddir/tests/faults/headgate-router" "$@" 2>>"$dir/headgate-router.log" & # files of 64 KB
  router=$!
  wait_for 20 ready
}
refused() { # refused DESCRIPTION TEXT...: the router does not start, and says all of it
  timeout -k 10 200 "$top_builddir/tests/faults/headgate-router" 2>"$dir/refused"
  is "$1: the router does not start" 65 $?
  shift
  for text; do ok "it says: $text" grep -qF -- "$text" "$dir/refused"; done
}
checked() { # checked DESCRIPTION STATUS: check ends with it
  ctl check >"$dir/text"
  is "$1: check says so" "$2" $?
}
again() { # begin with the state as it was
  rm -rf "${dir:?}/state" "$dir/run"
  cp -a "$dir/whole" "$dir/state"
}
duplicates() { head -n 100 "$dir/in" | publish --receipts | grep -c '"duplicate":true'; }
has_ids() { [ -n "$(ls "$log"/*.ids)" ]; }

"$top_builddir/tests/generate" -n 3000 -b 200 | grep '"payment"' >"$dir/in"
run_router
start payment headgate-payment
publish "$dir/in"
ok "all are handled" ctl wait --empty -t 30
ok "files are given back, and ids are left" wait_for 20 has_ids
stop "$payment"
stop "$router"
rm -f "$dir"/state/queues/payment-processing/*.free
is "the key is for nobody else" 600 "$(stat -c %a "$key")"
checked "whole" 0
cp -a "$dir/state" "$dir/whole"
run_router
is "ids are known after a restart" 100 "$(duplicates)"
stop "$router"

echo "# gone"
again
rm "$key"
refused "the key is gone" "$log/" ".ids: " "dedup.key that it was made with is not there" \
  "may be delivered twice" "move it away to go on"
ok "no other key takes its place" [ ! -e "$key" ]
checked "the key is gone" 65
ok "it names what cannot be read" grep -q '\.ids: .*dedup.key' "$dir/text"
ok "and what to do" grep -q 'move' "$dir/text"
ok "the first is to put it back" grep -q "put $key back" "$dir/text"
is "the files are in order" "" "$(grep -o '/[0-9a-f]*\.ids' "$dir/text" | sort -c 2>&1)"
(cd "$log" && sha256sum -- *.ids) >"$dir/sums"
ctl check --salvage payment-processing >"$dir/text"
is "a salvage has nothing to do but to say so" "65 0" "$? $(find "$dir/state" -name damaged | wc -l)"
: >"$log/000000000000ffff.ids"
ctl check --salvage payment-processing >"$dir/text"
is "of damage a salvage is made, and the key is still missed" "65 1" "$? $(grep -c ': salvaged: ' "$dir/text")"
ok "what cannot be read is left out" [ ! -e "$log/000000000000ffff.ids" ]
ok "what only lacks the key is kept as it was" eval '(cd "$log" && sha256sum -c --quiet "$dir/sums")'
cp -a "$dir/whole/dedup.key" "$key"
checked "with the key put back" 0
ok "with the key put back the router starts" run_router
is "and nothing was forgotten" 100 "$(duplicates)"
stop "$router"

echo "# another one"
mkdir "$dir/other"
HEADGATE_DIR=$dir/other "$top_builddir/headgate-router" 2>"$dir/other.log" &
other=$!
ok "another directory's key" wait_for 20 [ -e "$dir/other/state/dedup.key" ]
stop "$other"
again
cp "$dir/other/state/dedup.key" "$key"
refused "another key" ".ids: " "dedup.key that it was made with is not there"
checked "another key" 65
ctl check --json payment-processing >"$dir/check"
ok "as JSON" eval 'jq -r "select(.file) | .file" "$dir/check" | grep -q "/payment-processing/.*\.ids$"'
mkdir "$dir/away"
mv "$dir"/state/queues/*/*.ids "$dir/away"
checked "the ids moved away" 0
ok "the router goes on without them" run_router
stop "$router"

echo "# another one, and all is older than the window"
again
ctl config | sed 's/dedup_window = .*/dedup_window = 1s/' >"$dir/conf"
cp -a "$log" "$dir/old"
gone() { [ -z "$(ls "$log"/*.ids 2>/dev/null)" ]; }
run_router -c "$dir/conf"
ok "what is older than the window is removed" wait_for 20 gone
head -n 1 "$dir/in" | publish
stop "$router"
cp "$dir"/old/*.ids "$log"
cp "$dir/other/state/dedup.key" "$key"
checked "needed by a longer window" 65
"$top_builddir/headgatectl" -c "$dir/conf" check >"$dir/text"
is "not needed: it is whole" 0 $?
ok "the router starts" run_router -c "$dir/conf"
ok "and removes them" wait_for 20 gone
stop "$router"

echo "# of another version"
other_version() { # other_version FILE: as the version before these wrote it
  printf 1 | dd of="$1" bs=1 seek=7 conv=notrunc status=none
}
upgraded() {
  again
  dd if="$dir/whole/dedup.key" of="$key" bs=8 skip=1 count=24 status=none
  for file in "$log"/*.ids; do
    other_version "$file"
    cp "$file" "$dir/state/queues/bank-account-setup" # names are the same in all queues
  done
}
typed() { sed -n "s/.* type \`\([^']*\)'.*/\1/p" "$1"; }
for said in refused text; do
  upgraded
  refused "a key of another version" "$key: written by another version of Headgate" "dedup_window"
  checked "a key of another version" 65
  ok "it names the key" grep -q "^dedup.key: written by another version of Headgate" "$dir/text"
  ok "and the files of ids" grep -q '\.ids: .*written by another version of Headgate' "$dir/text"
  is "what to do stands there once" 1 "$(grep -c dedup_window "$dir/text")"
  ok "what $said says is typed" eval "$(typed "$dir/$said")"
  checked "after that" 0
  ok "the router goes on" run_router
  stop "$router"
done
upgraded
rm "$key"
refused "ids of another version" ".ids: written by another version of Headgate" "dedup_window"
checked "ids of another version" 65
is "what to do stands there once" 1 "$(grep -c dedup_window "$dir/text")"
ctl check --salvage payment-processing >"$dir/text"
is "a salvage has nothing to do" "65 0" "$? $(find "$dir/state" -name damaged | wc -l)"
ok "that is typed" eval "$(typed "$dir/refused")"
checked "after that" 0

echo "# damaged"
for at in 0 100 204; do
  again
  byte=$(od -An -tu1 -j $at -N 1 "$key")
  # shellcheck disable=SC2059
  printf "\\$(printf %o $((byte ^ 8)))" | dd of="$key" bs=1 seek=$at conv=notrunc status=none
  refused "byte $at is another" "$key: damaged" "move it away"
  checked "byte $at is another" 65
  ok "it names the key" grep -q "^dedup.key: DAMAGED" "$dir/text"
  ctl check --json >"$dir/check"
  is "as JSON" "$key" "$(jq -r 'select(.queue == null) | .file' "$dir/check")"
done
truncate -s 100 "$key"
refused "a short one" "$key: damaged"
cp "$dir/whole/dedup.key" "$key"
echo >>"$key"
refused "a long one" "$key: damaged"

echo "# no ids, no loss"
again
mv "$dir"/state/queues/*/*.ids "$dir/away"
rm "$key"
checked "neither key nor ids" 0
ok "a new key is made" run_router
ok "it is there" [ -s "$key" ]
stop "$router"
checked "with it" 0
done_testing
