# What processes say to each other in shared memory, searched by Spin.
MODEL_TESTS = tests/model/doorbell.sh tests/model/start.sh
dist_check_SCRIPTS += $(MODEL_TESTS)
TESTS += $(MODEL_TESTS)
EXTRA_DIST += tests/model/search.sh tests/model/doorbell.pml tests/model/gate.pml tests/model/start.pml
