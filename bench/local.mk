# Built and run by `make bench' only.
bench_binaries = bench/bench-ring bench/bench-wait bench/bench-log bench/null-worker
EXTRA_PROGRAMS = $(bench_binaries)
CLEANFILES += $(bench_binaries)
EXTRA_DIST += bench/pipeline.sh
bench_bench_ring_SOURCES = bench/ring.c
bench_bench_ring_LDADD = $(SHM_LIBS) $(BSD_LIBS)
bench_bench_wait_SOURCES = bench/wait.c
bench_bench_wait_LDADD = $(SHM_LIBS) $(BSD_LIBS)
bench_bench_log_SOURCES = bench/log.c
bench_bench_log_LDADD = $(BSD_LIBS)
bench_null_worker_SOURCES = bench/null-worker.c
bench_null_worker_LDADD = $(WORKER_LIBS)

bench: all tests/generate $(bench_binaries)
	bench/bench-ring
	bench/bench-wait
	bench/bench-log $(abs_top_builddir)
	top_builddir='$(abs_top_builddir)' bash $(top_srcdir)/bench/pipeline.sh
.PHONY: bench
