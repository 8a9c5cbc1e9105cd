/*
 * accounts - which customers have a bank account, as the store of headgate-bank-account says.
 *
 * That store has no index of customers, which would cost its worker more than all the rest. So who is in it
 * is read once, and then what is new when a customer is not known yet.
 */
#ifndef HEADGATE_WORKERS_ACCOUNTS_H
#define HEADGATE_WORKERS_ACCOUNTS_H

#include <stddef.h>

#include "message/envelope.h"

struct accounts;

/* Reads nothing yet. NULL without memory. */
struct accounts *accounts_new(const char *store_path);
void accounts_free(struct accounts *);

/* Forgets what was read when another store has taken the place of that one, or none: to be called when a batch
 * begins. */
void accounts_look(struct accounts *);

/* Returns 1 or 0; -EIO when the store cannot be read, and then error is filled. A store that is not there, or
 * has no table yet, has no accounts. */
int accounts_has(struct accounts *, struct span customer_id, char *error, size_t error_bytes);

#endif
