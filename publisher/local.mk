noinst_LIBRARIES += publisher/libpublisher.a
publisher_libpublisher_a_SOURCES = publisher/convert.c publisher/convert.h publisher/input.c \
	publisher/input.h publisher/look.c publisher/look.h publisher/report.c publisher/report.h publisher/session.c \
	publisher/session.h publisher/sniff.c publisher/sniff.h publisher/topic.c publisher/topic.h publisher/unpack.c \
	publisher/unpack.h publisher/window.c publisher/window.h
PUBLISHER_LIBS = publisher/libpublisher.a $(SHM_LIBS) $(CONFIG_LIBS) $(MESSAGE_LIBS) $(BSD_LIBS)

bin_PROGRAMS += headgate-publish
headgate_publish_SOURCES = publisher/main.c
headgate_publish_CPPFLAGS = $(AM_CPPFLAGS) -DVERSION_TEXT='"$(PACKAGE_VERSION)"'
headgate_publish_LDADD = $(PUBLISHER_LIBS)

PUBLISHER_TESTS = tests/unit/test-publisher-convert tests/unit/test-publisher-input \
	tests/unit/test-publisher-run tests/unit/test-publisher-sniff tests/unit/test-publisher-window
check_PROGRAMS += $(PUBLISHER_TESTS)
TESTS += $(PUBLISHER_TESTS)
tests_unit_test_publisher_convert_SOURCES = tests/unit/publisher_convert.c
tests_unit_test_publisher_convert_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_publisher_convert_LDADD = $(PUBLISHER_LIBS) $(CRITERION_LIBS)
tests_unit_test_publisher_input_SOURCES = tests/unit/publisher_input.c tests/unit/mutate.h
tests_unit_test_publisher_input_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_publisher_input_LDADD = $(PUBLISHER_LIBS) $(CRITERION_LIBS)
tests_unit_test_publisher_run_SOURCES = tests/unit/publisher_run.c tests/unit/mutate.h
tests_unit_test_publisher_run_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_publisher_run_LDADD = $(PUBLISHER_LIBS) $(CRITERION_LIBS)
tests_unit_test_publisher_sniff_SOURCES = tests/unit/publisher_sniff.c
tests_unit_test_publisher_sniff_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_publisher_sniff_LDADD = $(PUBLISHER_LIBS) $(CRITERION_LIBS)
tests_unit_test_publisher_window_SOURCES = tests/unit/publisher_window.c
tests_unit_test_publisher_window_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_publisher_window_LDADD = $(PUBLISHER_LIBS) $(CRITERION_LIBS)
