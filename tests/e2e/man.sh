#!/bin/bash
# The pages: well formed, referring to pages that are there, with the options that the programs have.
. "$top_srcdir/tests/lib.sh"

for page in "$top_srcdir"/man/*.[1-9]; do
  name=$(basename "$page")
  is "$name is well formed" "" "$(mandoc -T lint -W warning "$page" 2>&1)"
  missing=
  for reference in $(sed -n 's/^\.Xr \([^ ]*\) \([1-9]\).*/\1.\2/p' "$page"); do
    [ -e "$top_srcdir/man/$reference" ] || missing="$missing $reference"
  done
  is "$name refers to pages that are there" "" "$missing"
done
for program in headgate-publish headgatectl headgate-router headgate-payment headgate-bank-account \
  headgate-subscription-manager; do
  page=$(ls "$top_srcdir/man/$program".[18])
  is "$program's options are those of its page" \
    "$("$top_builddir/$program" --help | grep -o -E -- '--[a-z]+' | sort -u | tr '\n' ' ')" \
    "$(grep -E '^\.It Fl' "$page" | grep -o -E 'Fl -[a-z]+|, -[a-z]+' | grep -o -E -- '-[a-z]+' | sed 's/^/-/' | sort -u | tr '\n' ' ')"
done
is "documented JSON is what status prints" "" "$(
  "$top_builddir/headgatectl" status --json | jq -r '[paths | map(select(type == "string")) | .[]] | unique[]' |
    while read -r key; do grep -q "Va $key\$\|Va $key \|Va $key$" "$top_srcdir/man/headgatectl.1" || echo "$key"; done
)"

start router headgate-router
start payment headgate-payment
wait_for 20 ready
"$top_builddir/headgatectl" wait --workers -t 20 payment-processing
is "each file that they make has its place on a page" "" "$(
  cd "$dir" && find run state ! -type d ! -path 'state/queues/*' |
    sed 's|/[a-z-]*\.log$|/NAME.log|; s|/payment-processing|/NAME|' | sort -u |
    while read -r file; do
      grep -q "^\.\(It \|\)Pa \(DIR/$file\|$(basename "$file")\)\$" "$top_srcdir/man/headgate.7" || echo "$file"
    done
)"
stop "$payment"
stop "$router"
done_testing
