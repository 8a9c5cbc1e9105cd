# How the sources hang together. The include graph of the project's own files: no circle, and no arrow against the order in HACKING.md ("Order").
# A module is a .c file with its header; what includes what is asked of modules.
. "${top_srcdir:?}/tests/lib.sh"

# Arrows that are left to be turned, "module module" a line. One that is not there any more must go from here.
exceptions() {
  cat <<'END'
config/command config/config
config/paths config/config
ctl/main router/filter
ctl/options ctl/command
ctl/queues ctl/ctl
END
}

# All modules' arrows: "from to" a line, each once.
arrows() {
  (cd "$top_srcdir" && find base config ctl log message publisher router shm telemetry workers -name '*.[ch]' -o -name '*.cc') |
    sort | while read -r file; do
    sed -n 's,^#include "\([a-z_-]*/[a-z_/-]*\)\.h".*,\1,p' "$top_srcdir/$file" |
      sed "s,^,${file%.*} ,"
  done | awk '$1 != $2' | sort -u
}

# The order: "rank name" a line; a name is a folder, or in the router a folder or a module of it.
order() {
  awk '/^## / { inside = $0 == "## Order"; next }
    !inside { next }
    /^    / { n++; sub(/^ +/, ""); gsub(/,/, " "); for (i = 1; i <= NF; i++) print n, $i }' "$top_srcdir/HACKING.md"
}

order >"$dir/order"
arrows >"$dir/arrows"
exceptions | sort >"$dir/exceptions"
comm -23 "$dir/arrows" "$dir/exceptions" >"$dir/checked"

# The name in the order that a module goes by: its folder; within the router its room or itself.
awk -v order="$dir/order" '
  BEGIN { while ((getline line < order) > 0) { split(line, part, " "); rank[part[2]] = part[1] } }
  function folder(module) { sub(/\/.*/, "", module); return module }
  function room(module) { sub(/\/[^\/]*$/, "", module); return module }
  function place(module, with) {
    if (folder(module) != "router" || folder(with) != "router")
      return folder(module)
    return room(module) == "router" ? module : room(module)
  }
  {
    from = place($1, $2)
    to = place($2, $1)
    if (from == to)
      next
    if (!(from in rank))
      print "has no place in the order: " from
    else if (!(to in rank))
      print "has no place in the order: " to
    else if (rank[to] <= rank[from])
      print $1 " includes " $2
  }' "$dir/checked" | sort -u >"$dir/against"

tsort "$dir/checked" >/dev/null 2>"$dir/circles"

# Structs of the router that have more than 25 members: "file: struct: members" a line.
(cd "$top_srcdir" && awk '
  /^(static )?struct [a-z_]+ \{$/ { name = $(NF - 1); depth = 1; members = 0; next }
  !depth || /^\t*(\/?\*| \*)/ { next }
  {
    gsub(/\/\*.*|\(.*\)/, "")
    was = depth
    depth += gsub(/\{/, "{") - gsub(/\}/, "}")
    if (depth == 1 && /;/)
      members += 1 + (was == 1 ? gsub(/,/, ",") : 0)
    if (depth == 0 && members > 25)
      print FILENAME ": " name ": " members
  }' $(find router -name '*.[ch]')) >"$dir/large"

ok "there is an order" test "$(wc -l <"$dir/order")" -ge 9
ok "there are arrows" test "$(wc -l <"$dir/arrows")" -ge 200
is "no arrow points against the order" '' "$(cat "$dir/against")"
is "no modules form a circle" '' "$(cat "$dir/circles")"
is "each exception is there" '' "$(comm -13 "$dir/arrows" "$dir/exceptions")"
is "no struct of the router has more than 25 members" '' "$(cat "$dir/large")"
done_testing
