/*
 * failing_store - makes calls of the store fail in tests/failing-payment.
 *
 * Test and worker map the file named by HEADGATE_STORE_FAULTS. The test chooses the calls there.
 */
#ifndef HEADGATE_TESTS_FAILING_STORE_H
#define HEADGATE_TESTS_FAILING_STORE_H

#include <stdatomic.h>
#include <stdint.h>

enum store_call {
	CALL_HIGHEST,
	CALL_BEGIN,
	CALL_FIND,
	CALL_APPLY,
	CALL_FAIL,
	CALL_COMMIT,
	CALL_COMMIT_DONE, /* the commit takes place, and then it is said to have failed */
	STORE_CALLS
};

struct store_faults {
	_Atomic uint32_t call, skip, times; /* so many of these go well, then so many fail */
	_Atomic uint32_t failed;            /* so many did */
	_Atomic uint32_t finds;             /* look-ups for messages */
};

#endif
