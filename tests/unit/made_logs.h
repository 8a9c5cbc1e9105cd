/*
 * made_logs - two logs, of payments and of accounts, written by the router's writer, with batches
 * in one log or in both; ways to damage the logs; and the audit's result. For Criterion tests: an
 * error ends the test.
 */
#ifndef HEADGATE_TESTS_UNIT_MADE_LOGS_H
#define HEADGATE_TESTS_UNIT_MADE_LOGS_H

#include "log/audit.h"

enum {
	BATCHES = 42, /* the last one is in both logs; with 40, in accounts only */
	PER_BATCH = 3,
	PAYMENT_BATCHES = 34,
	BODY_BYTES = 1500,
	WAITING = 30, /* unsettled messages of each log */
	PAYMENTS = 0,
	ACCOUNTS = 1
};

/* Makes two logs in a new directory. Payments have all batches but every fifth. Accounts have every
 * third batch, and those missing from payments. make_logs() makes BATCHES batches. */
void make_logs(void);
void make_so_many(uint64_t batches);
/* With bodies of so many bytes, at most BODY_BYTES. */
void make_with_bodies(uint64_t batches, size_t body_bytes);
void remove_logs(void);

const char *made_dir(void); /* parent of the logs' directories */
const char *dir_of(int log);
const char *file_of(int log, uint64_t number);
uint64_t size_of(int log, uint64_t number);
/* Flips a byte; a second call restores the byte. */
void flip(int log, uint64_t number, uint64_t offset);

struct found {
	struct log_audit audits[2];
	struct log_decision_log logs[2];
	struct log_decision decision;
};
struct found *look(void);
void forget(struct found *);

/* Scans the log up to the first bad place. Returns 0 for a whole log; else `error` names the
 * place. */
int scan_strictly(int log, char *error, size_t error_bytes);

#endif
