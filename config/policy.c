#include "config/policy.h"

void
policy_of(struct policy *policy, const struct config_queue *queue)
{
	*policy = (struct policy){
		.blocks_server_error = queue->server_error != CONFIG_SERVER_STOP,
		.blocks_client_error = queue->client_error == CONFIG_CLIENT_RETRY,
		/* A dead letter cannot be given up to another queue: the router closes the gate
		 * instead. */
		.receives_max = queue->dead_letters ? 0 : queue->max_receive_count,
		.visibility_ns = queue->visibility_ns,
		.fault_markers = queue->fault_markers,
	};
}

bool
policy_blocks(const struct policy *policy, int status)
{
	if (status >= 500)
		return policy->blocks_server_error;
	return status >= 400 && policy->blocks_client_error;
}

const char *
policy_difference(const struct policy *one, const struct policy *other)
{
	if (one->blocks_server_error != other->blocks_server_error)
		return "server_error";
	if (one->blocks_client_error != other->blocks_client_error)
		return "client_error";
	if (one->receives_max != other->receives_max)
		return "max_receive_count";
	if (one->visibility_ns != other->visibility_ns)
		return "visibility_timeout";
	return one->fault_markers != other->fault_markers ? "fault_markers" : NULL;
}
