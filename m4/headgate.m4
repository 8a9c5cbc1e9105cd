# HG_REQUIRE(PREFIX, MODULES, DEBIAN-PACKAGE)
# Like PKG_CHECK_MODULES, but says which Debian package is missing.
AC_DEFUN([HG_REQUIRE],
[PKG_CHECK_MODULES([$1], [$2], [],
  [AC_MSG_ERROR([$2 is missing (Debian package: $3); scripts/setup installs all that is needed])])])

# HG_REQUIRE_EITHER(PREFIX, MODULES, OTHER-MODULES, DEBIAN-PACKAGE)
# A library that is known to pkg-config by one of two names.
AC_DEFUN([HG_REQUIRE_EITHER],
[PKG_CHECK_MODULES([$1], [$2], [],
  [HG_REQUIRE([$1], [$3], [$4])])])

# HG_WARNINGS
# Puts the warnings that the compilers know into HG_WARN_CFLAGS and HG_WARN_CXXFLAGS.
AC_DEFUN([HG_WARNINGS],
[hg_warn="-Wall -Wextra -Wshadow -Wundef -Wpointer-arith -Wcast-qual -Wwrite-strings dnl
-Wformat=2 -Wvla -Wimplicit-fallthrough -Wnull-dereference -Wdouble-promotion"
hg_warn_c="-Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition"
AS_IF([test "x$enable_werror" = xyes], [hg_error=-Werror], [hg_error=])
HG_WARN_CFLAGS=
HG_WARN_CXXFLAGS=
AC_LANG_PUSH([C])
for hg_flag in $hg_warn $hg_warn_c; do
  HG_TRY_FLAG([$hg_flag], [HG_WARN_CFLAGS="$HG_WARN_CFLAGS $hg_flag"])
done
AC_LANG_POP([C])
AC_LANG_PUSH([C++])
for hg_flag in $hg_warn; do
  HG_TRY_FLAG([$hg_flag], [HG_WARN_CXXFLAGS="$HG_WARN_CXXFLAGS $hg_flag"])
done
AC_LANG_POP([C++])
HG_WARN_CFLAGS="$HG_WARN_CFLAGS $hg_error"
HG_WARN_CXXFLAGS="$HG_WARN_CXXFLAGS $hg_error"
AC_SUBST([HG_WARN_CFLAGS])
AC_SUBST([HG_WARN_CXXFLAGS])])

# HG_TRY_FLAG(FLAG, ACTION-IF-TAKEN)
AC_DEFUN([HG_TRY_FLAG],
[AC_MSG_CHECKING([whether the _AC_LANG compiler takes $1])
hg_save_CFLAGS=$CFLAGS
hg_save_CXXFLAGS=$CXXFLAGS
CFLAGS="$CFLAGS -Werror $1"
CXXFLAGS="$CXXFLAGS -Werror $1"
AC_COMPILE_IFELSE([AC_LANG_PROGRAM([], [])], [hg_taken=yes], [hg_taken=no])
CFLAGS=$hg_save_CFLAGS
CXXFLAGS=$hg_save_CXXFLAGS
AC_MSG_RESULT([$hg_taken])
AS_IF([test $hg_taken = yes], [$2])])
