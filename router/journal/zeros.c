#include "router/journal/zeros.h"

#include "log/format.h"

_Alignas(LOG_HEADER_BYTES) const uint8_t zeros[ZEROS_BYTES];
