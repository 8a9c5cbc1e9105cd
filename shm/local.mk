noinst_LIBRARIES += shm/libshm.a
shm_libshm_a_SOURCES = shm/ring.c shm/ring.h shm/doorbell.c shm/doorbell.h shm/lane.c shm/lane.h shm/start.c shm/start.h \
	shm/lane_lock.c shm/lane_lock.h \
	shm/control.c shm/control.h shm/namespace.c shm/namespace.h shm/gate.c shm/gate.h shm/subscription.c shm/subscription.h

SHM_TESTS = tests/unit/test-gate tests/unit/test-lane_lock tests/unit/test-doorbell tests/unit/test-lane tests/unit/test-ring \
	tests/unit/test-start
check_PROGRAMS += $(SHM_TESTS)
TESTS += $(SHM_TESTS)
tests_unit_test_doorbell_SOURCES = tests/unit/doorbell.c
tests_unit_test_doorbell_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_doorbell_LDADD = $(SHM_LIBS) $(CRITERION_LIBS)
tests_unit_test_ring_SOURCES = tests/unit/ring.c
tests_unit_test_ring_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_ring_LDADD = $(SHM_LIBS) $(CRITERION_LIBS)
tests_unit_test_lane_SOURCES = tests/unit/lane.c
tests_unit_test_lane_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_lane_LDADD = $(SHM_LIBS) $(CRITERION_LIBS)
tests_unit_test_lane_lock_SOURCES = tests/unit/lane_lock.c
tests_unit_test_lane_lock_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_lane_lock_LDADD = $(SHM_LIBS) $(CRITERION_LIBS)
tests_unit_test_gate_SOURCES = tests/unit/gate.c
tests_unit_test_gate_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_gate_LDADD = $(SHM_LIBS) $(CRITERION_LIBS)
tests_unit_test_start_SOURCES = tests/unit/start.c
tests_unit_test_start_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_unit_test_start_LDADD = $(SHM_LIBS) $(CRITERION_LIBS) -lpthread
