noinst_LIBRARIES += shm/libshm.a
shm_libshm_a_SOURCES = shm/ring.c shm/ring.h shm/doorbell.c shm/doorbell.h shm/lane.c shm/lane.h \
	shm/control.c shm/control.h
