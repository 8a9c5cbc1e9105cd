include router/filter.mk

sbin_PROGRAMS += headgate-router
ROUTER_CORE_FILES = router/core.c router/core.h router/state.h router/ask.c router/ask.h router/batch.c router/batch.h \
	router/connection.c router/connection.h router/publish.c router/publish.h router/redrive.c router/redrive.h router/requests.c router/requests.h router/rings.c router/rings.h router/session.c router/session.h router/worker.h router/queue.c router/queue.h \
	router/cleaner.c router/cleaner.h router/delivery.c router/delivery.h router/blocking.c router/blocking.h router/flights.c router/flights.h \
	router/groups.c router/groups.h \
	router/move.c router/move.h router/notify.c router/notify.h router/probe.c router/probe.h router/recovery.c router/recovery.h router/writer.c router/writer.h \
	router/received.c router/received.h router/retention.c router/retention.h router/dedup.c router/dedup.h router/place_lock.c router/place_lock.h router/io.h router/io_system.c
ROUTER_FILES = router/main.c router/places.c router/places.h $(ROUTER_CORE_FILES) router/io_uring.c router/io_poll.c
headgate_router_SOURCES = $(ROUTER_FILES)
headgate_router_CPPFLAGS = $(AM_CPPFLAGS) -DVERSION_TEXT='"$(PACKAGE_VERSION)"'
ROUTER_LIBS = router/libfilter.a $(LOG_LIBS) $(CONFIG_LIBS) $(TELEMETRY_LIBS) \
	$(MESSAGE_LIBS) $(SHM_LIBS) $(URING_LIBS) $(BSD_LIBS)
headgate_router_LDADD = $(ROUTER_LIBS)

check_PROGRAMS += tests/unit/test-dedup tests/unit/test-io tests/unit/test-retention
TESTS += tests/unit/test-dedup tests/unit/test-io tests/unit/test-retention
tests_unit_test_retention_SOURCES = tests/unit/retention.c router/retention.c
tests_unit_test_retention_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_retention_LDADD = $(CRITERION_LIBS)
tests_unit_test_dedup_SOURCES = tests/unit/dedup.c router/dedup.c
tests_unit_test_dedup_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_dedup_LDADD = $(CRITERION_LIBS)
tests_unit_test_io_SOURCES = tests/unit/io.c router/io_uring.c router/io_poll.c router/io_system.c
tests_unit_test_io_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_io_LDADD = $(LOG_LIBS) $(CRITERION_LIBS) $(URING_LIBS)

# In a tail and segments that are small, and in proportion to each other as they are shipped.
check_PROGRAMS += tests/unit/test-writer
TESTS += tests/unit/test-writer
tests_unit_test_writer_SOURCES = tests/unit/writer.c router/writer.c router/io_poll.c router/io_system.c
tests_unit_test_writer_CPPFLAGS = $(AM_CPPFLAGS) -DLOG_SEGMENT_MIN=1048576 -DLOG_SEGMENT_MAX=1048576 \
	-DWRITER_TAIL=131072 -DWRITER_GATHER=32768
tests_unit_test_writer_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_writer_LDADD = $(TELEMETRY_LIBS) $(LOG_LIBS) $(MESSAGE_LIBS) $(SHM_LIBS) $(CRITERION_LIBS)

check_PROGRAMS += tests/unit/test-cleaner
TESTS += tests/unit/test-cleaner
tests_unit_test_cleaner_SOURCES = tests/unit/cleaner.c $(ROUTER_CORE_FILES) router/io_poll.c
tests_unit_test_cleaner_CPPFLAGS = $(AM_CPPFLAGS) -DLOG_SEGMENT_MIN=65536 -DLOG_SEGMENT_MAX=131072 \
	-DWRITER_TAIL=262144 -DWRITER_GATHER=65536 -DQUEUE_PIECE=2
tests_unit_test_cleaner_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_cleaner_LDADD = $(ROUTER_LIBS) $(CRITERION_LIBS)

check_PROGRAMS += tests/unit/test-router-run
TESTS += tests/unit/test-router-run
tests_unit_test_router_run_SOURCES = tests/unit/router_run.c
tests_unit_test_router_run_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_router_run_LDADD = $(WORKER_LIBS) $(CRITERION_LIBS)

check_PROGRAMS += tests/unit/test-groups
TESTS += tests/unit/test-groups
tests_unit_test_groups_SOURCES = tests/unit/groups.c router/groups.c
tests_unit_test_groups_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_groups_LDADD = $(CRITERION_LIBS)

check_PROGRAMS += tests/unit/test-router-ask
TESTS += tests/unit/test-router-ask
tests_unit_test_router_ask_SOURCES = tests/unit/router_ask.c
tests_unit_test_router_ask_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_router_ask_LDADD = $(WORKER_LIBS) $(CRITERION_LIBS)
