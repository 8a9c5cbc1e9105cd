#!/bin/bash
# The pages: well formed, referring to pages that are there, with the options that the programs have.
. "$top_srcdir/tests/lib.sh"

for page in "$top_srcdir"/man/*.[1-9]; do
  name=$(basename "$page")
  is "$name is well formed" "" "$(mandoc -T lint -W warning "$page" 2>&1)"
  is "$name fits 80 columns" "" "$(mandoc -T ascii "$page" 2>/dev/null | col -bx | awk 'length > 80')"
  missing=
  for reference in $(sed -n 's/^\.Xr \([^ ]*\) \([1-9]\).*/\1.\2/p' "$page"); do
    [ -e "$top_srcdir/man/$reference" ] || missing="$missing $reference"
  done
  is "$name refers to pages that are there" "" "$missing"
done
for document in "$top_srcdir"/doc/*.md "$top_srcdir"/*.md; do
  missing=
  for file in $(grep -o -E '\b[a-z]+/[a-z0-9_/-]+\.(c|cc|h|md|pml|sh)\b' "$document"); do
    [ -e "$top_srcdir/$file" ] || missing="$missing $file"
  done
  for function in $(grep -o -E '\b[a-z][a-z_]+\(\)' "$document" | sort -u); do
    (cd "$top_srcdir" && grep -rq --include='*.[ch]' "\\b${function%()}(" base config ctl log message publisher router shm \
      telemetry tests workers) || missing="$missing $function"
  done
  is "$(basename "$document") names files and functions that are there" "" "$missing"
done
for program in headgate-publish headgatectl headgate-router headgate-payment headgate-bank-account \
  headgate-subscription-manager; do
  pages=$(ls "$top_srcdir/man/$program".[18] "$top_srcdir/man/$program"-*.[18] 2>/dev/null)
  is "$program's options are those of its pages" \
    "$("$top_builddir/$program" --help | grep -o -E -- '--[a-z]+' | sort -u | tr '\n' ' ')" \
    "$(echo "$pages" | xargs grep -h -E '^\.It Fl' | grep -o -E 'Fl -[a-z]+|, -[a-z]+' | grep -o -E -- '-[a-z]+' | sed 's/^/-/' | sort -u | tr '\n' ' ')"
done
statuses() { # statuses FILE...: the exit statuses that these sources name, and 0
  echo 0
  (cd "$top_srcdir" && grep -h -o -E '\bEX_[A-Z]+' "$@") | sort -u | while read -r name; do
    printf '#include <sysexits.h>\n%s\n' "$name"
  done | ${CC:-cc} -E -P - | grep -o -E '^[0-9]+' | sort -u
}
compare_statuses() { # compare_statuses PROGRAM "STATUSES BESIDE SYSEXITS" FILE...: its pages have these, and no others
  pages=$(ls "$top_srcdir/man/$1".[18] "$top_srcdir/man/$1"-*.1 2>/dev/null)
  program=$1
  other=$2
  shift 2
  is "$program's pages have the exit statuses that there are" \
    "$( (statuses "$@"; printf '%s' "$other" | tr ' ' '\n') | sort -u | tr '\n' ' ')" \
    "$(echo "$pages" | xargs cat | sed -n '/^\.Sh EXIT STATUS/,/^\.Sh E[^X]\|^\.Sh [^E]/p' |
      sed -n 's/^\.It \([0-9]*\)\( Ta .*\)*$/\1/p' | sort -u | tr '\n' ' ')"
}
cd "$top_srcdir" || exit 1
compare_statuses headgate-publish "" publisher/*.c config/{output,process,usage}.c
compare_statuses headgatectl "1 2" ctl/*.c config/{output,process,usage}.c
compare_statuses headgate-router "" router/*.c router/*/*.c config/*.c
for program in headgate-payment headgate-bank-account headgate-subscription-manager; do
  compare_statuses "$program" "" workers/*.c config/*.c
done
cd - >/dev/null || exit 1
is "documented JSON is what status prints" "" "$(
  "$top_builddir/headgatectl" status --json | jq -r '[paths | map(select(type == "string")) | .[]] | unique[]' |
    undocumented headgatectl.1
)"

echo "# the bytes of a log"
page=$top_srcdir/man/headgate-log.5
is "each field is on the page, at its place, and each number" \
  "$("$top_builddir/tests/layout" | LC_ALL=C sort)" \
  "$(awk '/^\.\\" (struct|numbers) / { table = $3 }
    /^\.It [0-9]+ Ta [0-9]+ Ta / { print table, $6, $2, $4 }
    /^\.It [0-9]+ Ta [0-9]+ Ta magic/ { print "magic", table, $8 }
    /^\.It [0-9]+ Ta [A-Za-z-]+ Ta/ { print table, $2, $4 }' "$page" | LC_ALL=C sort)"
dumped() { # dumped OFFSET WIDTH: the bytes that the example on the page has there; words of WIDTH digits
  awk -v at="$1" -v width="$2" '$1 ~ /^0[0-9]{6}$/ && $1 + 0 == at && length($2) == width {
      for (i = 2; i <= NF; i++) print $i
      at += 16
    }' "$page" | while read -r word; do
    for ((i = ${#word} - 2; i >= 0; i -= 2)); do printf '%b' "\\x${word:i:2}"; done
  done
}
low() { "$top_builddir/tests/layout" "$1" "$2" "$3" | cut -c9-16; } # low FILE OFFSET LENGTH: half of its checksum
dumped 5632 8 >"$dir/frame"
dumped 5672 2 >"$dir/payload"
is "the example is a frame" "40 187" "$(wc -c <"$dir/frame") $(wc -c <"$dir/payload")"
is "with the checksums of what is said" "$(od -A n -t x4 -N 8 "$dir/frame" | xargs)" \
  "$(low "$dir/frame" 4 36) $(low "$dir/payload" 0 187)"
is "of the segment whose salt is shown" "$(od -A n -t x4 -j 32 "$dir/frame" | xargs)" \
  "$(dumped 40 8 | od -A n -t x4 | xargs)"

start router headgate-router
start payment headgate-payment
wait_for 20 ready
"$top_builddir/headgatectl" wait --workers -t 20 payment-processing
# The store is made behind that, with a journal that goes when it is done.
wait_for 20 [ -e "$dir/state/stores/payment-processing.db-wal" ]
is "each file that they make has its place on a page" "" "$(
  cd "$dir" && find run state ! -type d ! -path 'state/queues/*' |
    sed 's|/[a-z-]*\.log$|/NAME.log|; s|/[a-z-]*\.pid$|/PROGRAM.pid|; s|/payment-processing|/NAME|' | sort -u |
    while read -r file; do
      grep -q "^\.\(It \|\)Pa \(DIR/$file\|$(basename "$file")\)\$" "$top_srcdir/man/headgate.7" || echo "$file"
    done
)"
echo '{"customer_id":"C","transaction_type":"payment","amount":1,"payment_method":"card","message_id":"p1"}' | publish
stop "$payment"
stop "$router"

# A log, read by nothing but what the page says.
log=$dir/state/queues/payment-processing/0000000000000001.log
value() { # value BASE STRUCT FIELD: a number
  # shellcheck disable=SC2046
  set -- "$1" $(awk -v "name=$2" -v "field=$3" '/^\.\\" struct / { table = $3 }
    /^\.It [0-9]+ Ta [0-9]+ Ta / && table == name && $6 == field { print $2, $4 }' "$page")
  od -A n -t "u$3" -j $(($1 + $2)) -N "$3" "$log" | xargs
}
is "its header" "16909060 4096 1" "$(value 0 log_segment_header endian) $(value 0 log_segment_header header_bytes) $(value 0 log_segment_header number)"
is "with its checksum" "$(od -A n -t x8 -j 184 -N 8 "$log" | xargs)" "$("$top_builddir/tests/layout" "$log" 0 184)"
salt=$(value 0 log_segment_header salt)
at=4096
types=
wrong=
while [ "$(value $at log_frame salt)" = "$salt" ]; do
  type=$(value $at log_frame type)
  length=$(value $at log_frame length)
  types="$types $type"
  [ "$(od -A n -t x4 -j $at -N 4 "$log" | xargs)" = "$(low "$log" $((at + 4)) 36)" ] || wrong="$wrong $at"
  [ "$type" = 7 ] || [ "$(od -A n -t x4 -j $((at + 4)) -N 4 "$log" | xargs)" = "$(low "$log" $((at + 40)) "$length")" ] ||
    wrong="$wrong $at"
  [ "$type" != 1 ] || message="$(value $at log_frame sequence) $(tail -c +$((at + 41)) "$log" | head -c "$length" | tail -c 20)"
  at=$(((at + 40 + length + 7) / 8 * 8))
done
is "all checksums" "" "$wrong"
ok "a checkpoint comes first, then a message:$types" eval '[[ "$types " = " 6 "*" 1 "*"5 "* ]]'
is "which is there, with its sequence" '1 "message_id":"p1"}' "$(echo "$message" | sed 's/^\(1 \).*\("mess\)/\1\2/')"
done_testing
