/*
 * net - sockets, eventfds and pidfds of the simulated machine, and the router's back end on it: what
 * router/io.h asks for is done in an order, in pieces and after times that chance decides.
 */
#ifndef HEADGATE_TESTS_SIM_NET_H
#define HEADGATE_TESTS_SIM_NET_H

#include "router/io.h"
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
	int fd_to_router; /* is sent with the first byte; -1: none */
	int fds_to_client[NET_FDS];
	unsigned fd_count;
	uint32_t pid;        /* the client's */
	bool ended;          /* by the router, or with it */
	bool hung_up;        /* by the client */
	unsigned references; /* the client's, the listener's */
};

/* The client's end. NULL: nobody listens. */
struct net_socket *net_connect(uint32_t pid);
void net_send(struct net_socket *, const void *data, size_t length);
/* Forgets what was read from to_client. */
void net_consume(struct net_socket *, size_t length);
void net_hang_up(struct net_socket *);

/* write(2) on an eventfd. */
int64_t net_ring_bell(int fd, const void *buffer, size_t length);

/* The back end. One at a time. */
struct io *net_io(void);
/* The router is dead: what it had asked for is forgotten; writes that were under way are there in part. */
void net_io_end(void);

/* Who is to die by a pidfd. */
extern void (*net_kill)(uint32_t pid);
/* Is there something that run() could do now? */
bool net_io_ready(void);

#endif
