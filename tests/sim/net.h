/*
 * net - sockets, eventfds and pidfds of the simulated machine, and the router's back end
 * (router/io/io.h) on them. Chance decides order, pieces and delays of requests.
 */
#ifndef HEADGATE_TESTS_SIM_NET_H
#define HEADGATE_TESTS_SIM_NET_H

#include "router/io/io.h"
#include "tests/sim/descriptor.h"

enum { NET_FDS = 66 };

struct bytes {
	uint8_t *data;
	size_t length, capacity;
};

/* A connection to RUN/router.sock. */
struct net_socket {
	struct file file; /* the router's end */
	struct bytes to_router, to_client;
	int fd_to_router; /* sent with the first byte; -1: none */
	int fds_to_client[NET_FDS];
	unsigned fd_count;
	uint32_t pid;        /* the client's */
	bool ended;          /* closed by the router, or by its death */
	bool hung_up;        /* closed by the client */
	unsigned references; /* the client's and the listener's */
};

/* Returns the client's end; NULL if nobody listens. */
struct net_socket *net_connect(uint32_t pid);
void net_send(struct net_socket *, const void *data, size_t length);
/* Removes bytes that the client has read from to_client. */
void net_consume(struct net_socket *, size_t length);
void net_hang_up(struct net_socket *);

/* write(2) on an eventfd. */
int64_t net_ring_bell(int fd, const void *buffer, size_t length);

/* The router's back end, of which there is one at a time. */
struct io *net_io(void);
/* The router is dead: drops its requests. Unfinished writes are done in part. */
void net_io_end(void);

/* Called for a process that is killed by its pidfd. */
extern void (*net_kill)(uint32_t pid);
/* True if run() has something to do now. */
bool net_io_ready(void);

#endif
