# What the end-to-end tests share. Sourced; sets up a private directory and ends what was started.
#
# Processes are ended by pid, nothing is waited for by sleeping a fixed time: wait_for() looks at a
# condition until a deadline.
set -u
: "${top_srcdir:?}" "${top_builddir:?}"

dir=$(mktemp -d /tmp/hg-test-XXXXXX)
export HEADGATE_DIR="$dir"
unset HEADGATE_ENVIRONMENT
tests=0
failed=0

# What was started is known as a child of this shell, or by the directory in its environment: the number of
# one that has ended may be somebody else's by now.
alive() { # alive PID: a child of this shell
  [ -n "$1" ] && [ "$(sed 's/.*) . \([0-9]*\) .*/\1/' "/proc/$1/stat" 2>/dev/null)" = $$ ]
}
programs() { # the programs that have this directory
  grep -lz "^HEADGATE_DIR=$dir\$" /proc/[0-9]*/environ 2>/dev/null | sed 's|/proc/||; s|/environ||'
}
kill_all() {
  for pid in $(jobs -pr); do
    kill -KILL "$pid" 2>/dev/null
  done
  wait 2>/dev/null
  for pid in $(programs); do
    kill -KILL "$pid" 2>/dev/null
  done
}

cleanup() {
  kill_all
  rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 1' INT TERM HUP

ok() { # ok DESCRIPTION COMMAND...: a test point
  tests=$((tests + 1))
  description=$1
  shift
  if "$@"; then
    echo "ok $tests - $description"
  else
    failed=$((failed + 1))
    echo "not ok $tests - $description"
    for log in "$dir"/*.log; do
      [ -e "$log" ] && sed "s|^|# $(basename "$log"): |" "$log" | tail -n 20
    done
  fi
}

is() { # is DESCRIPTION WANTED GOT
  tests=$((tests + 1))
  if [ "$2" = "$3" ]; then
    echo "ok $tests - $1"
  else
    failed=$((failed + 1))
    echo "not ok $tests - $1"
    printf '%s\n' "$2" | sed 's/^/# wanted: /'
    printf '%s\n' "$3" | sed 's/^/# got:    /'
  fi
}

done_testing() {
  echo "1..$tests"
  [ "$failed" -eq 0 ]
}

pace() { # pace SECONDS COMMAND...: until the command succeeds, or so long
  deadline=$(($(date +%s) + $1))
  shift
  until "$@" 2>/dev/null; do
    [ "$(date +%s)" -lt "$deadline" ] || return 1
    sleep 0.02 # between two looks
  done
}
# The deadline is for what hangs: ten times what the slowest machine needs that was seen.
wait_for() { # wait_for SECONDS COMMAND...: until the command succeeds, which takes so long on a fast machine at most
  pace $((10 * $1)) "${@:2}"
}

start() { # start VARIABLE PROGRAM ARGUMENT...: in the background; its pid goes into VARIABLE
  variable=$1
  program=$2
  shift 2
  "$top_builddir/$program" "$@" 2>>"$dir/$program.log" &
  eval "$variable=$!"
}

stop() { # stop PID: by SIGTERM; its exit status
  kill -TERM "$1"
  wait "$1"
}

ready() { # the router takes messages
  [ -S "$dir/run/router.sock" ] && grep -q '"router.ready"' "$dir/headgate-router.log"
}

recipes() { # recipes [-v] TITLE: what headgate-operations(7) says to type, in sections whose title has TITLE, or has not
  local not=0
  [ "$1" != -v ] || { not=1 && shift; }
  awk -v title="$1" -v not="$not" '
    /^\.Ss / { wanted = (index($0, title) > 0) != not }
    /^\.Ed/ { typed = 0 }
    wanted && typed {
      gsub(/\\e/, "\\")
      if (sub(/\\$/, "")) printf "%s", $0
      else print
    }
    /^\.Bd -literal/ { typed = 1 }' "$top_srcdir/man/headgate-operations.7"
}

undocumented() { # undocumented PAGE: those of the keys on standard input that the page does not name
  sort -u | while read -r key; do
    sed -n 's/^\.\(It \)*Va //p' "$top_srcdir/man/$1" | tr ' ' '\n' | grep -qx "$key" || echo "$key"
  done
}

publish() { # publish ARGUMENT...: to the router
  "$top_builddir/headgate-publish" "$@" 2>>"$dir/publish.err"
}

sql() { # sql QUEUE STATEMENT
  sqlite3 -cmd '.timeout 5000' "file:$dir/state/stores/$1.db?mode=ro" "$2"
}

payments() { sql payment-processing "$1"; }
accounts() { sql bank-account-setup "$1"; }

stored() { # stored ACCOUNTS PAYMENTS: so many rows are there
  [ "$(accounts 'SELECT count(*) FROM bank_accounts')" = "$1" ] &&
    [ "$(payments 'SELECT count(*) FROM payments')" = "$2" ]
}

start_all() {
  start router headgate-router
  start payment headgate-payment
  start account headgate-bank-account
  wait_for 20 ready
}

# Of tests/generate's messages: rows that are not in their customer's order of publishing.
payments_out_of_order='SELECT count(*) FROM (SELECT CAST(due_date AS INTEGER) AS n,
  row_number() OVER (PARTITION BY customer_id ORDER BY rowid) AS r FROM payments) WHERE n <> r'
accounts_out_of_order='SELECT count(*) FROM (SELECT CAST(account_type AS INTEGER) AS n,
  row_number() OVER (PARTITION BY customer_id ORDER BY rowid) AS r FROM bank_accounts) WHERE n <> r'
