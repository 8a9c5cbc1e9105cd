bin_PROGRAMS += headgate-publish
headgate_publish_SOURCES = publisher/main.c publisher/convert.c publisher/convert.h \
	publisher/input.c publisher/input.h publisher/report.c publisher/report.h \
	publisher/session.c publisher/session.h publisher/topic.c publisher/topic.h \
	publisher/unpack.c publisher/unpack.h publisher/window.c publisher/window.h
headgate_publish_CPPFLAGS = $(AM_CPPFLAGS) -DVERSION_TEXT='"$(PACKAGE_VERSION)"'
headgate_publish_LDADD = $(CONFIG_LIBS) $(MESSAGE_LIBS) $(BSD_LIBS)

check_PROGRAMS += tests/unit/test-publisher_input tests/unit/test-publisher_window \
	tests/unit/test-publisher_run
TESTS += tests/unit/test-publisher_input tests/unit/test-publisher_window \
	tests/unit/test-publisher_run
tests_unit_test_publisher_input_SOURCES = tests/unit/publisher_input.c publisher/input.c
tests_unit_test_publisher_input_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_publisher_input_LDADD = $(CRITERION_LIBS)
tests_unit_test_publisher_window_SOURCES = tests/unit/publisher_window.c publisher/window.c
tests_unit_test_publisher_window_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_publisher_window_LDADD = $(MESSAGE_LIBS) $(CRITERION_LIBS)
tests_unit_test_publisher_run_SOURCES = tests/unit/publisher_run.c
tests_unit_test_publisher_run_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_publisher_run_LDADD = $(MESSAGE_LIBS) $(CRITERION_LIBS)
