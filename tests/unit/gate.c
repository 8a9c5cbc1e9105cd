#include "shm/gate.h"

#include <criterion/criterion.h>
#include <string.h>

/* clang-format off */
/* The table of headgate(7). "": no transition. */
static const struct {
	enum control_state state;
	const char *next[GATE_EVENTS];
} table[] = {
	/*                    start      stop       skip       failed     passed     probe
	 *                    restart    damage */
	{ CONTROL_RUNNING, { "RUNNING", "STOPPED", "",        "TRIPPED", "",        "",        "RUNNING", "STOPPED" } },
	{ CONTROL_STOPPED, { "RUNNING", "STOPPED", "",        "STOPPED", "",        "",        "STOPPED", "STOPPED" } },
	{ CONTROL_TRIPPED, { "PROBING", "STOPPED", "PROBING", "",        "",        "PROBING", "TRIPPED", "STOPPED" } },
	{ CONTROL_PROBING, { "PROBING", "STOPPED", "",        "TRIPPED", "RUNNING", "",        "TRIPPED", "STOPPED" } },
};
/* clang-format on */

Test(gate, every_state_and_event)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		for (int event = 0; event < GATE_EVENTS; event++) {
			enum control_state to = gate_next(table[i].state, (enum gate_event)event);
			const char *name = to == 0 ? "" : control_state_name(to);

			cr_expect(strcmp(name, table[i].next[event]) == 0, "%s, %s: %s",
			    control_state_name(table[i].state),
			    gate_event_name((enum gate_event)event), name);
		}
	}
}

Test(gate, what_is_no_state_or_no_event_changes_nothing)
{
	for (int event = 0; event < GATE_EVENTS; event++) {
		cr_expect(
		    gate_next((enum control_state)0, (enum gate_event)event) == 0, "%d", event);
		cr_expect(
		    gate_next((enum control_state)255, (enum gate_event)event) == 0, "%d", event);
	}
	cr_expect(gate_next(CONTROL_RUNNING, GATE_EVENTS) == 0, "an event beyond");
	cr_expect(gate_next(CONTROL_RUNNING, (enum gate_event) - 1) == 0, "an event below");
}
