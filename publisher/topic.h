/*
 * topic - the settings of the topic being published to, from the router's WELCOME.
 */
#ifndef HEADGATE_PUBLISHER_TOPIC_H
#define HEADGATE_PUBLISHER_TOPIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"

enum topic_dedup { TOPIC_DEDUP_MESSAGE_ID = 1, TOPIC_DEDUP_CONTENT };

struct topic_settings {
	uint32_t id;
	char name[CONFIG_NAME_BYTES];
	size_t max_body_bytes;
	char group_by[CONFIG_FIELDS][CONFIG_NAME_BYTES];
	size_t group_by_count;
	enum topic_dedup dedup_by[CONFIG_FIELDS];
	size_t dedup_by_count;
	bool control; /* one constant group, no deduplication by content */
	char queues[CONFIG_QUEUES][CONFIG_NAME_BYTES];
	size_t queue_count;
};

/* Reads the payload of a publisher's WELCOME (message/wire.h). Returns 0, -EPROTO or -ENOMEM. */
int topic_decode(struct topic_settings *, const void *payload, size_t length);

#endif
