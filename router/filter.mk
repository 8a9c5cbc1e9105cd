noinst_LIBRARIES += router/libfilter.a
router_libfilter_a_SOURCES = router/filter.c router/filter.h

check_PROGRAMS += tests/unit/test-filter
TESTS += tests/unit/test-filter
tests_unit_test_filter_SOURCES = tests/unit/filter.c
tests_unit_test_filter_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_filter_LDADD = router/libfilter.a $(MESSAGE_LIBS) $(CRITERION_LIBS)
