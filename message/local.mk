noinst_LIBRARIES += message/libmessage.a
message_libmessage_a_SOURCES = message/answer.h message/blocked.c message/blocked.h message/envelope.c message/envelope.h message/json.cc message/json.h \
	message/json_fault.c message/json_fault.h \
	message/mask.c message/mask.h message/random.c message/random.h message/trace.c message/trace.h message/uuid.c \
	message/uuid.h message/wire.c message/wire.h
# Without NDEBUG simdjson checks its caller at every step and is less than half as fast.
message_libmessage_a_CPPFLAGS = $(AM_CPPFLAGS) $(SIMDJSON_CFLAGS) -DNDEBUG -DSIMDJSON_EXCEPTIONS=0
message_libmessage_a_CXXFLAGS = $(AM_CXXFLAGS) -fno-exceptions -fno-rtti

check_PROGRAMS += tests/unit/test-json
TESTS += tests/unit/test-json
tests_unit_test_json_SOURCES = tests/unit/json.c tests/unit/mutate.h
tests_unit_test_json_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_json_LDADD = $(MESSAGE_LIBS) $(CRITERION_LIBS)

check_PROGRAMS += tests/unit/test-envelope
TESTS += tests/unit/test-envelope
tests_unit_test_envelope_SOURCES = tests/unit/envelope.c
tests_unit_test_envelope_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_envelope_LDADD = $(MESSAGE_LIBS) $(CRITERION_LIBS)

check_PROGRAMS += tests/unit/test-mask
TESTS += tests/unit/test-mask
tests_unit_test_mask_SOURCES = tests/unit/mask.c
tests_unit_test_mask_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_mask_LDADD = $(MESSAGE_LIBS) $(CRITERION_LIBS)

check_PROGRAMS += tests/unit/test-blocked
TESTS += tests/unit/test-blocked
tests_unit_test_blocked_SOURCES = tests/unit/blocked.c
tests_unit_test_blocked_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_blocked_LDADD = $(MESSAGE_LIBS) $(CRITERION_LIBS)
