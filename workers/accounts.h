/*
 * accounts - looks up customers with a bank account in the store of headgate-bank-account.
 *
 * The store has no index of customers, as keeping one would cost its worker more than the rest of a
 * write. This module therefore copies all customer ids into memory once, and copies newer rows when
 * a customer is not found.
 */
#ifndef HEADGATE_WORKERS_ACCOUNTS_H
#define HEADGATE_WORKERS_ACCOUNTS_H

#include <stddef.h>

#include "message/envelope.h"

struct accounts;

/* Opens no file yet. NULL without memory. */
struct accounts *accounts_new(const char *store_path);
void accounts_free(struct accounts *);

/* Drops the copy if the store was replaced or removed. Call at the begin of each batch. */
void accounts_look(struct accounts *);

/* Returns 1 if the customer has an account, else 0; -EIO with `error` filled if the store cannot be
 * read. A store that does not exist, or has no table yet, has no accounts. */
int accounts_has(struct accounts *, struct span customer_id, char *error, size_t error_bytes);

#endif
