noinst_LIBRARIES += config/libconfig.a
config_libconfig_a_SOURCES = config/command.c config/command.h config/config.c \
	config/config.h config/daemon.c config/daemon.h config/detach.c config/detach.h config/output.c config/output.h config/paths.c config/paths.h \
	config/pidfile.c config/pidfile.h config/policy.c config/policy.h config/process.c config/process.h config/suggest.c config/suggest.h config/text.c config/text.h config/title.c config/title.h config/usage.c config/usage.h

check_PROGRAMS += tests/unit/test-config
TESTS += tests/unit/test-config
tests_unit_test_config_SOURCES = tests/unit/config.c tests/unit/mutate.h
tests_unit_test_config_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_config_LDADD = $(CONFIG_LIBS) $(CRITERION_LIBS)
