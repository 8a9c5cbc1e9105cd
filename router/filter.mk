noinst_LIBRARIES += router/libfilter.a
router_libfilter_a_SOURCES = router/filter.c router/filter.h
