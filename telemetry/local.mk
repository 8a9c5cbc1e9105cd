noinst_LIBRARIES += telemetry/libtelemetry.a
telemetry_libtelemetry_a_SOURCES = telemetry/event.c telemetry/event.h telemetry/crash.h telemetry/sink.c telemetry/sink.h

check_PROGRAMS += tests/unit/test-event
TESTS += tests/unit/test-event
tests_unit_test_event_SOURCES = tests/unit/event.c
tests_unit_test_event_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_event_LDADD = $(TELEMETRY_LIBS) $(MESSAGE_LIBS) $(CRITERION_LIBS)
