# The router in a simulated machine: its own sources, with constants that the seed draws. wrap.options
# has the calls that are taken over when it is linked: those that leave the process (world.c, descriptor.c,
# disk.c, net.c), and those in which bugs are planted (breaks.c).
noinst_LIBRARIES += tests/sim/libshipped.a
tests_sim_libshipped_a_SOURCES = tests/sim/shipped.c
check_PROGRAMS += tests/sim/run
tests_sim_run_SOURCES = tests/sim/run.c tests/sim/world.c tests/random.h tests/sim/world.h \
	tests/sim/descriptor.c tests/sim/descriptor.h tests/sim/disk.c tests/sim/disk.h \
	tests/sim/net.c tests/sim/net.h tests/sim/model.c tests/sim/model.h tests/sim/party.h \
	tests/sim/proportions.c tests/sim/proportions.h tests/sim/asker.c tests/sim/publisher.c tests/sim/worker.c tests/sim/breaks.c tests/sim/breaks.h \
	$(ROUTER_CORE_FILES) $(log_liblog_a_SOURCES) $(shm_libshm_a_SOURCES) \
	$(telemetry_libtelemetry_a_SOURCES) workers/attachment.c workers/attachment.h
tests_sim_run_CPPFLAGS = $(AM_CPPFLAGS) -DHEADGATE_CRASH_POINTS \
	-include $(srcdir)/tests/sim/proportions.h
# Fortified calls have other names.
tests_sim_run_CFLAGS = $(AM_CFLAGS) -U_FORTIFY_SOURCE
tests_sim_run_LDFLAGS = $(AM_LDFLAGS) -Wl,@$(srcdir)/tests/sim/wrap.options
EXTRA_tests_sim_run_DEPENDENCIES = tests/sim/wrap.options
EXTRA_DIST += tests/sim/wrap.options
tests_sim_run_LDADD = tests/sim/libshipped.a router/libfilter.a $(CONFIG_LIBS) $(MESSAGE_LIBS) $(XXHASH_LIBS) $(BSD_LIBS)

dist_check_SCRIPTS += tests/sim/sim.sh
TESTS += tests/sim/sim.sh

# SIM_MINUTES of seeds that were never tried.
check-sim: tests/sim/run
	tests/sim/run --seed $$(date +%s)00000 --minutes $${SIM_MINUTES:-10}
.PHONY: check-sim
