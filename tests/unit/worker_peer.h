/*
 * worker_peer - runs a worker program as a process, with the test as its router. Handshake, lanes,
 * doorbells and state word are real.
 *
 * Every wait is for a condition, with a deadline.
 */
#ifndef HEADGATE_TESTS_WORKER_PEER_H
#define HEADGATE_TESTS_WORKER_PEER_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/policy.h"
#include "shm/control.h"
#include "shm/lane.h"

enum {
	LANES = 2,
	LOG = 4711,
	DEADLINE_MS = 30000,
	STOP_MS = 10000,
	ENVELOPE_BYTES = 4096,
	WORKERS = 2
};

extern char dir[64];
extern const char *program, *queue;
extern const char *binary; /* below the build directory; NULL: program */
extern pid_t worker[WORKERS];
extern struct control control;
extern sqlite3 *db;

/* The router's side of the connection. */
extern int listen_fd, router_fd, bell_fd;
extern pid_t peer; /* the working child */
extern unsigned generation;
extern uint64_t first_name; /* the message with sequence n has the id m(first_name + n) */
extern size_t completion_bytes;
extern void (*spoil)(void);        /* damages the lanes before the worker gets them; NULL: none */
extern struct policy policy;       /* sent in WELCOME */
extern struct lane_delivery front; /* header of deliveries; deliver_bytes() sets the sequence */
extern struct lane lane[LANES];
extern struct ring_producer delivery[LANES];
extern struct ring_consumer completion[LANES];

struct taken {
	uint64_t sequence, state;
	int status;
	uint32_t flags;
	char reason[LANE_REASON_BYTES + 1];
};

char *path(const char *name);
int64_t now_ms(void);
/* A pause between two checks of a condition that no event announces. Fails with `what` at the
 * deadline. */
void look_again(int64_t deadline_ms, const char *what);
pid_t start_worker(int which);
/* Returns the worker's wait status; fails if the worker runs longer than within_ms. */
int wait_worker(int which, int within_ms);
char *read_errors(void);
void wait_for_event(const char *name);
/* Ends the worker by SIGTERM. Fails if one of its children has died before. */
void stop_worker(void);
void open_store(void);
const char *query(const char *sql);
long count(const char *what);
const char *table(void);
long rows(void);
void router_listen(void);
void router_hang_up(void);
void router_accept(void);
void router_welcome(void);
void router_attach(void);
void set_state(enum control_state state, uint64_t number);
/* As headgatectl start --skip-head. */
void skip_head(uint64_t sequence, uint64_t number);
/* Writes bytes into a lane as a delivery; show() publishes. */
void deliver_bytes(unsigned which, uint64_t sequence, const void *bytes, size_t length);
void show(void);
size_t pack(uint8_t buffer[ENVELOPE_BYTES], const char *group, uint64_t sequence, const char *body);
void deliver_to_group(const char *group, uint64_t sequence, const char *body);
void deliver(uint64_t sequence, const char *body);
void deliver_payment(uint64_t sequence, const char *customer, const char *amount);
/* Takes a completion, if the ring has one. */
bool take_now(unsigned which, struct taken *taken);
/* Sleeps as the router does until a completion arrives. False if the worker has hung up. */
bool take(unsigned which, struct taken *taken);
/* Expects this completion as the next one of the message's lane, and its row in the store. */
void expect_done(uint64_t sequence, int status, const char *reason);
/* Expects no completion during a time in which the worker looks at its rings several times. */
void expect_idle(void);
/* Waits until the worker's handler is at this message, or has ended a batch. */
void wait_for_start(uint64_t sequence);
void set_up(const char *its_program, const char *its_queue);
void setup_payment(void);
void setup_bank_account(void);
void teardown(void);

#endif
