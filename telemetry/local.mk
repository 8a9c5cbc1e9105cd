noinst_LIBRARIES += telemetry/libtelemetry.a
telemetry_libtelemetry_a_SOURCES = telemetry/event.c telemetry/event.h
