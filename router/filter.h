/*
 * filter - which messages a queue takes: SNS filter policies
 * (https://docs.aws.amazon.com/sns/latest/dg/sns-subscription-filter-policies.html), compiled once.
 *
 * Today: a JSON object of attribute names, each with an array of strings; a message matches when each
 * name is one of its string attributes and has one of the values. Operators are refused by name.
 */
#ifndef HEADGATE_ROUTER_FILTER_H
#define HEADGATE_ROUTER_FILTER_H

#include <stdbool.h>
#include <stddef.h>

#include "message/envelope.h"

struct filter;

/* Compiles a policy; NULL takes everything. Returns 0, -EINVAL with error saying what is wrong with
 * it, or -ENOMEM. */
int filter_compile(struct filter **, const char *policy, char *error, size_t error_bytes);
bool filter_match(const struct filter *, const struct envelope *);
void filter_free(struct filter *);

#endif
