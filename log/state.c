#include "log/state.h"

#include <string.h>

void
log_state_to_detail(const struct log_state *state, struct control_detail *detail)
{
	*detail = (struct control_detail){
		.generation = state->generation,
		.since_ns = state->since_ns,
		.sequence = state->sequence,
		.uid = state->uid,
		.pid = state->pid,
		.status = state->status,
		.tripped_s = state->tripped_s,
	};
	memcpy(detail->user, state->user, sizeof(detail->user));
	memcpy(detail->program, state->program, sizeof(detail->program));
	memcpy(detail->message_id, state->message_id, sizeof(detail->message_id));
	memcpy(detail->error, state->error, sizeof(detail->error));
	memcpy(detail->reason, state->reason, sizeof(detail->reason));
}

void
log_state_from_detail(struct log_state *state, enum control_state value, uint64_t generation,
    const struct control_detail *detail)
{
	*state = (struct log_state){
		.generation = generation,
		.since_ns = detail->since_ns,
		.sequence = detail->sequence,
		.state = value,
		.uid = detail->uid,
		.pid = detail->pid,
		.status = detail->status,
		.tripped_s = detail->tripped_s,
	};
	memcpy(state->user, detail->user, sizeof(state->user));
	memcpy(state->program, detail->program, sizeof(state->program));
	memcpy(state->message_id, detail->message_id, sizeof(state->message_id));
	memcpy(state->error, detail->error, sizeof(state->error));
	memcpy(state->reason, detail->reason, sizeof(state->reason));
}
