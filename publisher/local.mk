bin_PROGRAMS += headgate-publish
headgate_publish_SOURCES = publisher/main.c publisher/convert.c publisher/convert.h \
	publisher/input.c publisher/input.h publisher/report.c publisher/report.h \
	publisher/session.c publisher/session.h publisher/topic.c publisher/topic.h \
	publisher/unpack.c publisher/unpack.h publisher/window.c publisher/window.h
headgate_publish_CPPFLAGS = $(AM_CPPFLAGS) -DVERSION_TEXT='"$(PACKAGE_VERSION)"'
headgate_publish_LDADD = $(CONFIG_LIBS) $(MESSAGE_LIBS) $(BSD_LIBS)
