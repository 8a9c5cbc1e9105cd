/*
 * party - the processes around the router: publishers, workers and persons at headgatectl. Each call is one
 * step of one of them.
 */
#ifndef HEADGATE_TESTS_SIM_PARTY_H
#define HEADGATE_TESTS_SIM_PARTY_H

#include "config/config.h"
#include "message/wire.h"
#include "tests/sim/model.h"

enum { PUBLISHERS = 2, WORKERS = 3, ASKERS = 2 };

/* more: make new messages, too. */
void publisher_step(unsigned which, bool more);
void publisher_die(unsigned which);
/* Is everything that it made answered? */
bool publisher_is_done(unsigned which);
/* Ends its connection. */
void publisher_rest(unsigned which);

void worker_step(unsigned which);
void worker_die(unsigned which);
void worker_remove_lock(unsigned queue);
/* Is it at work on something? */
bool worker_is_idle(unsigned which);
/* Planted bug: reports outcomes before they are committed. */
extern bool worker_reports_early;
/* ... goes by the policy of the first router. */
extern bool worker_keeps_policy;

/* headgatectl start, stop or start --skip-head. */
void person_asks(unsigned queue, enum gate_event);

/* headgatectl peek --groups, start --group and start --skip-head --group. */
void asker_step(unsigned which);
void asker_die(unsigned which);

/* What publishers and workers say first. */
struct net_socket;
void party_hello(struct net_socket *, enum wire_role, const char *name, bool receipts);

void publishers_begin(const struct config *);
/* From now on they send as much at once as they ever do. */
void publishers_hurry(void);
void workers_begin(const struct config *);
void askers_begin(const struct config *);
void parties_begin(const struct config *);
/* All processes but the router end. */
void parties_die(void);

#endif
