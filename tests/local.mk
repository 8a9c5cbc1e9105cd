# Unit tests are Criterion programs, end-to-end tests shell scripts; both speak TAP.
TEST_EXTENSIONS = .sh
LOG_DRIVER = env AM_TAP_AWK='$(AWK)' $(SHELL) $(top_srcdir)/build-aux/tap-driver.sh
LOG_COMPILER = $(SHELL) $(top_srcdir)/tests/run-unit
SH_LOG_DRIVER = $(LOG_DRIVER)
SH_LOG_COMPILER = bash $(top_srcdir)/tests/run-e2e
AM_TESTS_ENVIRONMENT = top_srcdir='$(abs_top_srcdir)'; top_builddir='$(abs_top_builddir)'; \
	export top_srcdir top_builddir;

check_PROGRAMS += tests/generate tests/generate-mix tests/mix-worker tests/mutate tests/forbid tests/journal-worker tests/layout \
	tests/nonblock tests/backlog tests/flip-control
tests_mutate_SOURCES = tests/mutate.c tests/unit/mutate.h
tests_mutate_LDADD = $(BSD_LIBS)
tests_generate_SOURCES = tests/generate.c tests/random.h
tests_generate_LDADD = $(BSD_LIBS)
tests_generate_mix_SOURCES = tests/generate-mix.c tests/random.h
tests_generate_mix_LDADD = $(BSD_LIBS) -lm
tests_mix_worker_SOURCES = tests/mix-worker.c
tests_mix_worker_LDADD = $(WORKER_LIBS)
tests_layout_SOURCES = tests/layout.c
tests_layout_LDADD = $(LOG_LIBS) $(SHM_LIBS)
tests_flip_control_SOURCES = tests/flip-control.c
tests_forbid_SOURCES = tests/forbid.c
tests_nonblock_SOURCES = tests/nonblock.c
check_PROGRAMS += tests/crowd
tests_crowd_SOURCES = tests/crowd.c
tests_crowd_LDADD = $(MESSAGE_LIBS)
tests_backlog_SOURCES = tests/backlog.c
tests_journal_worker_SOURCES = tests/journal-worker.c
tests_journal_worker_LDADD = $(WORKER_LIBS)

E2E_TESTS = \
	tests/e2e/happy.sh \
	tests/e2e/lines.sh \
	tests/e2e/outputs.sh \
	tests/e2e/failures.sh \
	tests/e2e/accounts.sh \
	tests/e2e/base.sh \
	tests/e2e/gate.sh \
	tests/e2e/status.sh \
	tests/e2e/instance.sh \
	tests/e2e/commands.sh \
	tests/e2e/shutdown.sh \
	tests/e2e/usage.sh \
	tests/e2e/startup.sh \
	tests/e2e/places.sh \
	tests/e2e/descriptors.sh \
	tests/e2e/waits.sh \
	tests/e2e/file_size.sh \
	tests/e2e/order.sh \
	tests/e2e/kill.sh \
	tests/e2e/resend.sh \
	tests/e2e/key.sh \
	tests/e2e/death.sh \
	tests/e2e/lock.sh \
	tests/e2e/probe.sh \
	tests/e2e/blocked.sh \
	tests/e2e/processes.sh \
	tests/e2e/groups.sh \
	tests/e2e/space.sh \
	tests/e2e/lost_end.sh \
	tests/e2e/store.sh \
	tests/e2e/full.sh \
	tests/e2e/limits.sh \
	tests/e2e/retention.sh \
	tests/e2e/io.sh \
	tests/e2e/crowd.sh \
	tests/e2e/namespaces.sh \
	tests/e2e/reads.sh \
	tests/e2e/fifo.sh \
	tests/e2e/moved.sh \
	tests/e2e/truncated.sh \
	tests/e2e/small_stack.sh \
	tests/e2e/removed.sh \
	tests/e2e/peek.sh \
	tests/e2e/dead.sh \
	tests/e2e/redrive.sh \
	tests/e2e/check.sh \
	tests/e2e/promised.sh \
	tests/e2e/files.sh \
	tests/e2e/manager.sh \
	tests/e2e/on_trip.sh \
	tests/e2e/operations.sh \
	tests/e2e/man.sh
dist_check_SCRIPTS += $(E2E_TESTS) tests/includes.sh
TESTS += $(E2E_TESTS) tests/includes.sh
EXTRA_DIST += tests/run-unit tests/run-e2e tests/lib.sh tests/words

# The end-to-end tests with the router's other back end.
check-poll:
	HEADGATE_IO=poll $(MAKE) $(AM_MAKEFLAGS) check TESTS='$(E2E_TESTS)'
.PHONY: check-poll

# The unit tests of what handles messages, with all that they start, under valgrind; the router on poll(2), since
# valgrind does not see what io_uring writes (so tests/unit/test-io is not among them).
VALGRIND_TESTS = $(SHM_TESTS) $(WORKER_TESTS) tests/unit/test-json tests/unit/test-envelope tests/unit/test-mask \
	tests/unit/test-blocked tests/unit/test-settled tests/unit/test-log_scan tests/unit/test-log_reader \
	tests/unit/test-log_decision tests/unit/test-log_audit tests/unit/test-log_salvage tests/unit/test-log_ends \
	tests/unit/test-dedup tests/unit/test-retention tests/unit/test-writer tests/unit/test-compactor \
	tests/unit/test-router-run tests/unit/test-groups tests/unit/test-router-ask
check-valgrind:
	HEADGATE_VALGRIND=1 HEADGATE_IO=poll $(MAKE) $(AM_MAKEFLAGS) check TESTS='$(VALGRIND_TESTS)'
.PHONY: check-valgrind

# A million messages while the router and the workers are killed, every half second, and 200 ms after they are ready.
check-million: all tests/generate
	top_srcdir='$(abs_top_srcdir)' top_builddir='$(abs_top_builddir)' KILL_COUNT=1000000 KILL_PAUSE=0.5 \
		bash $(top_srcdir)/tests/e2e/kill.sh
	top_srcdir='$(abs_top_srcdir)' top_builddir='$(abs_top_builddir)' KILL_COUNT=1000000 KILL_READY=1 \
		bash $(top_srcdir)/tests/e2e/kill.sh
.PHONY: check-million
