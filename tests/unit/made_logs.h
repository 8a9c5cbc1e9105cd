/*
 * made_logs - two logs that the router's writer made, of payments and of accounts, with batches in one of
 * them or both; ways to damage them; and what the audit says of them. For tests with Criterion: what goes
 * wrong ends the test.
 */
#ifndef HEADGATE_TESTS_UNIT_MADE_LOGS_H
#define HEADGATE_TESTS_UNIT_MADE_LOGS_H

#include "log/audit.h"

enum {
	BATCHES = 42, /* the last is of both logs; two less, and it is of accounts only */
	PER_BATCH = 3,
	PAYMENT_BATCHES = 34,
	BODY_BYTES = 1500,
	WAITING = 30, /* messages that are not settled, of each log */
	PAYMENTS = 0,
	ACCOUNTS = 1
};

/* Payments have each batch but every fifth; accounts each third, and those that payments do not have. In a
 * directory of their own; made_logs() makes BATCHES. */
void make_logs(void);
void make_so_many(uint64_t batches);
void remove_logs(void);

const char *made_dir(void); /* that the logs' are in */
const char *dir_of(int log);
const char *file_of(int log, uint64_t number);
uint64_t size_of(int log, uint64_t number);
/* Changes a byte, and changes it back. */
void flip(int log, uint64_t number, uint64_t offset);

struct found {
	struct log_audit audits[2];
	struct log_decision_log logs[2];
	struct log_decision decision;
};
struct found *look(void);
void forget(struct found *);

/* Is the log whole to those who end at the first bad place? Then 0; else error names it. */
int scan_strictly(int log, char *error, size_t error_bytes);

#endif
