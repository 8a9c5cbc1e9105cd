noinst_LIBRARIES += config/libconfig.a
config_libconfig_a_SOURCES = config/config.c config/config.h config/paths.c config/paths.h \
	config/text.c config/text.h
