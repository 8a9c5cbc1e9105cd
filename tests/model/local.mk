# The doorbell's handshake, searched by Spin.
dist_check_SCRIPTS += tests/model/doorbell.sh
TESTS += tests/model/doorbell.sh
EXTRA_DIST += tests/model/doorbell.pml
