# Programs of the fault tests: the real sources, with places to die at and small segments.
FAULTS_CPPFLAGS = $(AM_CPPFLAGS) -DVERSION_TEXT='"$(PACKAGE_VERSION)"' -DHEADGATE_CRASH_POINTS \
	-DLOG_SEGMENT_MIN=65536 -DLOG_SEGMENT_MAX=131072
FAULTS_BUILT = tests/faults/headgate-router tests/faults/headgate-payment \
	tests/faults/headgate-bank-account tests/faults/worker tests/faults/fail.so \
	tests/faults/powercut tests/faults/flip tests/faults/headgatectl
check_PROGRAMS += $(FAULTS_BUILT)
# log/key.c, log/registry.c and log/salvage.c come before those of log/liblog.a, which have no places to die at.
tests_faults_headgate_router_SOURCES = $(ROUTER_FILES) log/key.c log/registry.c tests/faults/crash.c
tests_faults_headgate_router_CPPFLAGS = $(FAULTS_CPPFLAGS)
tests_faults_headgate_router_LDADD = $(ROUTER_LIBS)
tests_faults_headgate_payment_SOURCES = $(WORKER_FILES) workers/payment-main.c tests/faults/crash.c
tests_faults_headgate_payment_CPPFLAGS = $(FAULTS_CPPFLAGS)
tests_faults_headgate_payment_LDADD = $(WORKER_BASE_LIBS)
tests_faults_headgate_bank_account_SOURCES = $(WORKER_FILES) workers/bank-account-main.c \
	tests/faults/crash.c
tests_faults_headgate_bank_account_CPPFLAGS = $(FAULTS_CPPFLAGS)
tests_faults_headgate_bank_account_LDADD = $(WORKER_BASE_LIBS)
tests_faults_headgatectl_SOURCES = $(CTL_FILES) log/salvage.c tests/faults/crash.c
tests_faults_headgatectl_CPPFLAGS = $(FAULTS_CPPFLAGS)
tests_faults_headgatectl_LDADD = $(CTL_LIBS)
tests_faults_worker_SOURCES = tests/faults/worker.c
tests_faults_worker_LDADD = $(WORKER_LIBS)
# Not a program, but built as one; without the sanitizers, whose runtime must come first.
tests_faults_fail_so_SOURCES = tests/faults/fail.c tests/faults/journal.h
tests_faults_fail_so_CFLAGS = -std=gnu11 $(HG_WARN_CFLAGS) -fPIC
tests_faults_fail_so_LDFLAGS = -shared
tests_faults_powercut_SOURCES = tests/faults/powercut.c tests/random.h tests/faults/journal.h
tests_faults_powercut_LDADD = $(MESSAGE_LIBS)
tests_faults_flip_SOURCES = tests/faults/flip.c tests/random.h
tests_faults_flip_LDADD = $(WORKER_LIBS)

FAULTS_TESTS = tests/faults/crash.sh tests/faults/policies.sh tests/faults/calls.sh \
	tests/faults/powercut.sh tests/faults/flip.sh tests/faults/damage.sh tests/faults/want.sh
dist_check_SCRIPTS += $(FAULTS_TESTS) tests/faults/gates.sh tests/faults/mix.sh tests/faults/mutated.sh \
	tests/faults/file_systems.sh
TESTS += $(FAULTS_TESTS) tests/faults/gates.sh tests/faults/mix.sh tests/faults/mutated.sh
EXTRA_DIST += tests/faults/lib.sh tests/faults/soak.sh

# Each place, each call, each byte, each file system.
check-faults: all tests/generate $(FAULTS_BUILT)
	@for test in $(FAULTS_TESTS) tests/faults/file_systems.sh; do \
		echo "$$test"; \
		FAULTS_ALL=1 top_srcdir='$(abs_top_srcdir)' top_builddir='$(abs_top_builddir)' \
			bash $(top_srcdir)/$$test || exit 1; \
	done
.PHONY: check-faults

# GATES_MINUTES of stop, start, trips, skip-head and redrive in random order, with kills.
check-gates: all tests/generate
	top_srcdir='$(abs_top_srcdir)' top_builddir='$(abs_top_builddir)' \
		GATES_SECONDS=$$(($${GATES_MINUTES:-10} * 60)) bash $(top_srcdir)/tests/faults/gates.sh
.PHONY: check-gates

# MIX_MINUTES of random mixes of messages and policies, with the programs and constants that are installed.
check-mix: all tests/generate-mix tests/mix-worker
	top_srcdir='$(abs_top_srcdir)' top_builddir='$(abs_top_builddir)' \
		MIX_MINUTES=$${MIX_MINUTES:-10} MIX_BYTES=$${MIX_BYTES:-60000000} bash $(top_srcdir)/tests/faults/mix.sh
.PHONY: check-mix

# SOAK_MINUTES at full rate: nothing grows.
check-soak: all tests/generate tests/faults/worker
	top_srcdir='$(abs_top_srcdir)' top_builddir='$(abs_top_builddir)' bash $(top_srcdir)/tests/faults/soak.sh
.PHONY: check-soak
