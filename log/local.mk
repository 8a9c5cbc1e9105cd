noinst_LIBRARIES += log/liblog.a
log_liblog_a_SOURCES = log/audit.c log/audit.h log/decision.c log/decision.h log/format.c \
	log/format.h log/ids.c log/ids.h log/key.c log/key.h log/list.c log/list.h log/reader.c \
	log/reader.h log/registry.c log/registry.h log/salvage.c log/salvage.h log/scan.c log/scan.h \
	log/settled.c log/settled.h log/state.c log/state.h log/summary.c log/summary.h

check_PROGRAMS += tests/unit/test-settled tests/unit/test-log_scan tests/unit/test-log_reader tests/unit/test-log_decision
TESTS += tests/unit/test-settled tests/unit/test-log_scan tests/unit/test-log_reader tests/unit/test-log_decision
tests_unit_test_log_decision_SOURCES = tests/unit/log_decision.c
tests_unit_test_log_decision_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_log_decision_LDADD = $(LOG_LIBS) $(MESSAGE_LIBS) $(CRITERION_LIBS)
tests_unit_test_settled_SOURCES = tests/unit/settled.c
tests_unit_test_settled_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_settled_LDADD = log/liblog.a $(CRITERION_LIBS)
tests_unit_test_log_scan_SOURCES = tests/unit/log_scan.c
tests_unit_test_log_scan_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_log_scan_LDADD = $(LOG_LIBS) $(MESSAGE_LIBS) $(CRITERION_LIBS)
tests_unit_test_log_reader_SOURCES = tests/unit/log_reader.c
tests_unit_test_log_reader_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_log_reader_LDADD = $(LOG_LIBS) $(MESSAGE_LIBS) $(CRITERION_LIBS)

# Logs made by the router's writer, in small segments.
MADE_LOGS_FILES = tests/unit/made_logs.c tests/unit/made_logs.h $(ROUTER_JOURNAL_FILES)
MADE_LOGS_CPPFLAGS = $(AM_CPPFLAGS) -DLOG_SEGMENT_MIN=65536 -DLOG_SEGMENT_MAX=65536
MADE_LOGS_LIBS = $(TELEMETRY_LIBS) $(LOG_LIBS) $(MESSAGE_LIBS) $(SHM_LIBS) $(CRITERION_LIBS)
check_PROGRAMS += tests/unit/test-log_audit tests/unit/test-log_salvage tests/unit/test-log_ends
TESTS += tests/unit/test-log_audit tests/unit/test-log_salvage tests/unit/test-log_ends
tests_unit_test_log_audit_SOURCES = tests/unit/log_audit.c $(MADE_LOGS_FILES)
tests_unit_test_log_audit_CPPFLAGS = $(MADE_LOGS_CPPFLAGS)
tests_unit_test_log_audit_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_log_audit_LDADD = $(MADE_LOGS_LIBS)
tests_unit_test_log_ends_SOURCES = tests/unit/log_ends.c $(MADE_LOGS_FILES)
tests_unit_test_log_ends_CPPFLAGS = $(MADE_LOGS_CPPFLAGS)
tests_unit_test_log_ends_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_log_ends_LDADD = $(MADE_LOGS_LIBS)
# Compiles liblog again: the largest size of a segment follows from LOG_SEGMENT_MAX.
tests_unit_test_log_salvage_SOURCES = tests/unit/log_salvage.c $(MADE_LOGS_FILES) $(log_liblog_a_SOURCES)
tests_unit_test_log_salvage_CPPFLAGS = $(MADE_LOGS_CPPFLAGS)
tests_unit_test_log_salvage_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_log_salvage_LDADD = $(MADE_LOGS_LIBS)
