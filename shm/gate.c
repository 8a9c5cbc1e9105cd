#include "shm/gate.h"

enum { R = CONTROL_RUNNING, S = CONTROL_STOPPED, T = CONTROL_TRIPPED, P = CONTROL_PROBING };

static const char *const event_names[GATE_EVENTS] = {
	[GATE_START] = "start",
	[GATE_STOP] = "stop",
	[GATE_SKIP] = "skip",
	[GATE_FAILED] = "failed",
	[GATE_PASSED] = "passed",
	[GATE_PROBE] = "probe",
	[GATE_RESTART] = "restart",
	[GATE_DAMAGE] = "damage",
};

/* clang-format off */
/* A stop wins over all other events, and only a start ends STOPPED. */
static const unsigned char next[CONTROL_PROBING + 1][GATE_EVENTS] = {
	/*       start stop skip failed passed probe restart damage */
	[R] = {  R,    S,   0,   T,     0,     0,    R,      S },
	[S] = {  R,    S,   0,   S,     0,     0,    S,      S },
	[T] = {  P,    S,   P,   0,     0,     P,    T,      S },
	[P] = {  P,    S,   0,   T,     R,     0,    T,      S },
};
/* clang-format on */

const char *
gate_event_name(enum gate_event event)
{
	return (unsigned)event < GATE_EVENTS ? event_names[event] : "";
}

enum control_state
gate_next(enum control_state state, enum gate_event event)
{
	if ((unsigned)state > CONTROL_PROBING || (unsigned)event >= GATE_EVENTS)
		return (enum control_state)0;
	return (enum control_state)next[state][event];
}
