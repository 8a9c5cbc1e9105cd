bin_PROGRAMS += headgatectl
headgatectl_SOURCES = ctl/main.c ctl/ctl.h ctl/change.c ctl/dead.c ctl/message.c ctl/message.h ctl/peek.c \
	ctl/print.c ctl/redrive.c ctl/router.c ctl/router.h ctl/select.c ctl/select.h ctl/status.c \
	ctl/status.h ctl/text.c ctl/text.h ctl/wait.c
headgatectl_CPPFLAGS = $(AM_CPPFLAGS) -DVERSION_TEXT='"$(PACKAGE_VERSION)"'
headgatectl_LDADD = router/libfilter.a $(LOG_LIBS) $(CONFIG_LIBS) $(MESSAGE_LIBS) $(SHM_LIBS) \
	$(BSD_LIBS)
