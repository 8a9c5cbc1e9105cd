include router/filter.mk

sbin_PROGRAMS += headgate-router
ROUTER_CORE_FILES = \
	router/connection.c router/connection.h router/core.c router/core.h router/listen.c router/listen.h \
	router/open.c router/open.h router/state.h \
	router/session/admin.c router/session/admin.h router/session/attach.c router/session/attach.h \
	router/session/publish.c router/session/publish.h router/session/redrive.c router/session/redrive.h \
	router/session/session.c router/session/session.h \
	router/delivery/blocking.c router/delivery/blocking.h router/delivery/completion.c \
	router/delivery/completion.h router/delivery/cursor.c router/delivery/cursor.h \
	router/delivery/delivery.c router/delivery/delivery.h router/delivery/detach.c router/delivery/detach.h \
	router/delivery/flights.c router/delivery/flights.h router/delivery/probe.c router/delivery/probe.h \
	router/delivery/requests.c router/delivery/requests.h router/delivery/rings.c router/delivery/rings.h \
	router/delivery/worker.c router/delivery/worker.h \
	router/queue/checkpoint.c router/queue/checkpoint.h router/queue/counters.c router/queue/counters.h \
	router/queue/expiry.c router/queue/expiry.h router/queue/index.c router/queue/index.h \
	router/queue/lookup.c router/queue/lookup.h router/queue/notify.c router/queue/notify.h \
	router/queue/queue.c router/queue/queue.h router/queue/receives.c router/queue/receives.h \
	router/queue/reservation.c router/queue/reservation.h router/queue/subscription.c \
	router/queue/subscription.h router/queue/transfer.c router/queue/transfer.h \
	router/journal/repair.c router/journal/repair.h router/journal/segments.c router/journal/segments.h \
	router/journal/space.c router/journal/space.h router/journal/types.h router/journal/writer.c \
	router/journal/writer.h router/journal/zeros.c router/journal/zeros.h \
	router/upkeep/batch.c router/upkeep/batch.h router/upkeep/compactor.c router/upkeep/compactor.h \
	router/upkeep/recovery.c router/upkeep/recovery.h \
	router/tables/dedup.c router/tables/dedup.h router/tables/groups.c router/tables/groups.h \
	router/tables/received.c router/tables/received.h router/tables/retention.c router/tables/retention.h \
	router/io/error.h router/io/io.h router/io/io_system.c router/io/place_lock.c router/io/place_lock.h
ROUTER_FILES = router/main.c router/places.c router/places.h $(ROUTER_CORE_FILES) router/io/io_uring.c router/io/io_poll.c
headgate_router_SOURCES = $(ROUTER_FILES)
headgate_router_CPPFLAGS = $(AM_CPPFLAGS) -DVERSION_TEXT='"$(PACKAGE_VERSION)"'
ROUTER_LIBS = router/libfilter.a $(LOG_LIBS) $(CONFIG_LIBS) $(TELEMETRY_LIBS) \
	$(MESSAGE_LIBS) $(SHM_LIBS) $(URING_LIBS) $(BSD_LIBS)
headgate_router_LDADD = $(ROUTER_LIBS)
# One log's bytes, for tests that write logs.
ROUTER_JOURNAL_FILES = router/journal/repair.c router/journal/segments.c router/journal/space.c router/journal/writer.c \
	router/journal/zeros.c router/io/io_poll.c router/io/io_system.c

check_PROGRAMS += tests/unit/test-dedup tests/unit/test-io tests/unit/test-retention
TESTS += tests/unit/test-dedup tests/unit/test-io tests/unit/test-retention
tests_unit_test_retention_SOURCES = tests/unit/retention.c router/tables/retention.c
tests_unit_test_retention_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_retention_LDADD = $(CRITERION_LIBS)
tests_unit_test_dedup_SOURCES = tests/unit/dedup.c router/tables/dedup.c
tests_unit_test_dedup_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_dedup_LDADD = $(CRITERION_LIBS)
tests_unit_test_io_SOURCES = tests/unit/io.c router/io/io_uring.c router/io/io_poll.c router/io/io_system.c
tests_unit_test_io_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_io_LDADD = $(LOG_LIBS) $(CRITERION_LIBS) $(URING_LIBS)

# In a tail and segments that are small, and in proportion to each other as they are shipped.
check_PROGRAMS += tests/unit/test-writer
TESTS += tests/unit/test-writer
tests_unit_test_writer_SOURCES = tests/unit/writer.c $(ROUTER_JOURNAL_FILES)
tests_unit_test_writer_CPPFLAGS = $(AM_CPPFLAGS) -DLOG_SEGMENT_MIN=1048576 -DLOG_SEGMENT_MAX=1048576 \
	-DWRITER_TAIL=131072 -DWRITER_GATHER=32768
tests_unit_test_writer_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_writer_LDADD = $(TELEMETRY_LIBS) $(LOG_LIBS) $(MESSAGE_LIBS) $(SHM_LIBS) $(CRITERION_LIBS)

check_PROGRAMS += tests/unit/test-compactor
TESTS += tests/unit/test-compactor
tests_unit_test_compactor_SOURCES = tests/unit/compactor.c $(ROUTER_CORE_FILES) router/io/io_poll.c
tests_unit_test_compactor_CPPFLAGS = $(AM_CPPFLAGS) -DLOG_SEGMENT_MIN=65536 -DLOG_SEGMENT_MAX=131072 \
	-DWRITER_TAIL=262144 -DWRITER_GATHER=65536 -DCHECKPOINT_PIECE=2
tests_unit_test_compactor_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_compactor_LDADD = $(ROUTER_LIBS) $(CRITERION_LIBS)

check_PROGRAMS += tests/unit/test-router-run
TESTS += tests/unit/test-router-run
tests_unit_test_router_run_SOURCES = tests/unit/router_run.c
tests_unit_test_router_run_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_router_run_LDADD = $(WORKER_LIBS) $(CRITERION_LIBS)

check_PROGRAMS += tests/unit/test-groups
TESTS += tests/unit/test-groups
tests_unit_test_groups_SOURCES = tests/unit/groups.c router/tables/groups.c
tests_unit_test_groups_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_groups_LDADD = $(CRITERION_LIBS)

check_PROGRAMS += tests/unit/test-router-ask
TESTS += tests/unit/test-router-ask
tests_unit_test_router_ask_SOURCES = tests/unit/router_ask.c
tests_unit_test_router_ask_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_router_ask_LDADD = $(WORKER_LIBS) $(CRITERION_LIBS)
