noinst_LIBRARIES += workers/libworker.a
WORKER_FILES = workers/accounts.c workers/accounts.h workers/amount.c workers/amount.h workers/attachment.c \
	workers/attachment.h workers/consumer.c workers/consumer.h workers/blocked_groups.c workers/blocked_groups.h workers/invoke.c \
	workers/invoke.h workers/service.c workers/service.h \
	workers/bank-account.c workers/managed.c workers/managed.h workers/manager.c \
	workers/payment.c workers/store.c workers/store.h \
	workers/worker.c workers/worker.h
workers_libworker_a_SOURCES = $(WORKER_FILES)
workers_libworker_a_CPPFLAGS = $(AM_CPPFLAGS) -DVERSION_TEXT='"$(PACKAGE_VERSION)"'
WORKER_BASE_LIBS = $(LOG_LIBS) $(CONFIG_LIBS) $(TELEMETRY_LIBS) $(MESSAGE_LIBS) $(SHM_LIBS) \
	$(SQLITE_LIBS) $(BSD_LIBS)
WORKER_LIBS = workers/libworker.a $(WORKER_BASE_LIBS)

sbin_PROGRAMS += headgate-bank-account headgate-payment headgate-subscription-manager
headgate_bank_account_SOURCES = workers/bank-account-main.c
headgate_bank_account_LDADD = $(WORKER_LIBS)
headgate_payment_SOURCES = workers/payment-main.c
headgate_payment_LDADD = $(WORKER_LIBS)
headgate_subscription_manager_SOURCES = workers/manager-main.c
headgate_subscription_manager_LDADD = $(WORKER_LIBS)

WORKER_TESTS = tests/unit/test-amount tests/unit/test-manager tests/unit/test-services tests/unit/test-store \
	tests/unit/test-worker-run tests/unit/test-worker-store
check_PROGRAMS += $(WORKER_TESTS)
TESTS += $(WORKER_TESTS)
tests_unit_test_amount_SOURCES = tests/unit/amount.c
tests_unit_test_amount_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_amount_LDADD = workers/libworker.a $(CRITERION_LIBS)
tests_unit_test_manager_SOURCES = tests/unit/manager.c
tests_unit_test_manager_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_manager_LDADD = $(WORKER_LIBS) $(CRITERION_LIBS)
tests_unit_test_services_SOURCES = tests/unit/services.c
tests_unit_test_services_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_services_LDADD = $(WORKER_LIBS) $(CRITERION_LIBS)
tests_unit_test_store_SOURCES = tests/unit/store.c
tests_unit_test_store_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_store_LDADD = $(WORKER_LIBS) $(CRITERION_LIBS)
tests_unit_test_worker_run_SOURCES = tests/unit/worker_run.c tests/unit/worker_peer.c tests/unit/worker_peer.h
tests_unit_test_worker_run_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_worker_run_LDADD = $(MESSAGE_LIBS) $(SHM_LIBS) $(SQLITE_LIBS) $(CRITERION_LIBS)
tests_unit_test_worker_store_SOURCES = tests/unit/worker_store.c tests/unit/worker_peer.c tests/unit/worker_peer.h \
	tests/failing_store.h
tests_unit_test_worker_store_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_worker_store_LDADD = $(MESSAGE_LIBS) $(SHM_LIBS) $(SQLITE_LIBS) $(CRITERION_LIBS)

# The payment service with a store that fails when it is told to.
check_PROGRAMS += tests/failing-payment
tests_failing_payment_SOURCES = workers/payment-main.c tests/failing_store.c tests/failing_store.h
tests_failing_payment_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=store_highest,--wrap=store_begin,--wrap=store_find \
	-Wl,--wrap=store_apply,--wrap=store_fail,--wrap=store_commit
tests_failing_payment_LDADD = $(WORKER_LIBS)
