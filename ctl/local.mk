bin_PROGRAMS += headgatectl
CTL_FILES = ctl/main.c ctl/ctl.h ctl/change.c ctl/check.c ctl/command.c ctl/command.h ctl/dead.c ctl/files.c ctl/files.h ctl/groups.c ctl/health.c ctl/message.c ctl/message.h ctl/options.c ctl/options.h ctl/peek.c \
	ctl/print.c ctl/print_json.c ctl/process.c ctl/process.h ctl/queues.c ctl/queues.h ctl/redrive.c ctl/router.c ctl/router.h ctl/select.c ctl/select.h ctl/shutdown.c ctl/status.c \
	ctl/status.h ctl/table.c ctl/table.h ctl/text.c ctl/text.h ctl/wait.c
headgatectl_SOURCES = $(CTL_FILES)
headgatectl_CPPFLAGS = $(AM_CPPFLAGS) -DVERSION_TEXT='"$(PACKAGE_VERSION)"'
CTL_LIBS = router/libfilter.a $(LOG_LIBS) $(CONFIG_LIBS) $(MESSAGE_LIBS) $(SHM_LIBS) \
	$(BSD_LIBS)
headgatectl_LDADD = $(CTL_LIBS)

check_PROGRAMS += tests/unit/test-ctl_message tests/unit/test-ctl_table
TESTS += tests/unit/test-ctl_message tests/unit/test-ctl_table
tests_unit_test_ctl_table_SOURCES = tests/unit/ctl_table.c ctl/table.c ctl/text.c
tests_unit_test_ctl_table_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_ctl_table_LDADD = $(CONFIG_LIBS) $(MESSAGE_LIBS) $(BSD_LIBS) $(CRITERION_LIBS)
tests_unit_test_ctl_message_SOURCES = tests/unit/ctl_message.c ctl/message.c ctl/text.c
tests_unit_test_ctl_message_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_ctl_message_LDADD = $(LOG_LIBS) $(CONFIG_LIBS) $(MESSAGE_LIBS) $(SHM_LIBS) $(BSD_LIBS) \
	$(CRITERION_LIBS)
