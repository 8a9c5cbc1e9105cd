/*
 * party - the processes around the router: publishers, workers and people at headgatectl. Each call
 * of a step function runs one step of one process.
 */
#ifndef HEADGATE_TESTS_SIM_PARTY_H
#define HEADGATE_TESTS_SIM_PARTY_H

#include "config/config.h"
#include "message/wire.h"
#include "tests/sim/model.h"

enum { PUBLISHERS = 2, WORKERS = 3, ASKERS = 2 };

/* more: also makes new messages. */
void publisher_step(unsigned which, bool more);
void publisher_die(unsigned which);
/* True if all messages of the publisher are answered. */
bool publisher_is_done(unsigned which);
/* Closes the publisher's connection. */
void publisher_rest(unsigned which);

void worker_step(unsigned which);
void worker_die(unsigned which);
void worker_remove_lock(unsigned queue);
/* True if the worker handles no message. */
bool worker_is_idle(unsigned which);
/* Planted bugs. */
extern bool worker_reports_early; /* reports outcomes before their commit */
extern bool worker_keeps_policy;  /* applies the first router's policy under all routers */

/* headgatectl start, stop or start --skip-head. */
void person_asks(unsigned queue, enum gate_event);

/* headgatectl peek --groups, start --group and start --skip-head --group. */
void asker_step(unsigned which);
void asker_die(unsigned which);

/* Sends HELLO. */
struct net_socket;
void party_hello(struct net_socket *, enum wire_role, const char *name, bool receipts);

void publishers_begin(const struct config *);
/* From now on publishers send the largest bursts. */
void publishers_hurry(void);
void workers_begin(const struct config *);
void askers_begin(const struct config *);
/* Has one of them been told of a dead letter since the last call? */
bool askers_were_told(void);
void parties_begin(const struct config *);
/* Kills all processes but the router. */
void parties_die(void);

#endif
