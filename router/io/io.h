/*
 * io - everything that the router's core asks of the world: files, sockets, clock, random numbers.
 *
 * The core never makes a system call; it fills a struct io_request, hands it over and is called back
 * from io_run(). The same core runs on io_uring and, where there is none, on poll(2), so the interface
 * is a table of functions and no back end's types show.
 *
 * A request belongs to the back end from the call until its done() is called, and its buffer with it.
 * done() is only ever called from io_run(). A result is a byte count or a descriptor, or -errno.
 */
#ifndef HEADGATE_ROUTER_IO_IO_H
#define HEADGATE_ROUTER_IO_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

/* What is asked for, kept by a back end that has no other place for it. Requests are never refused for
 * want of memory this way. */
struct io_task {
	STAILQ_ENTRY(io_request) link;
	union {
		void *in;
		const void *out;
	} buffer;
	size_t length;
	int64_t offset;
	int fd;
	int kind;
};

struct io_request {
	void (*done)(struct io_request *, int64_t result);
	bool pending; /* the back end has it */
	struct io_task task;
};

/* A receive that also takes one descriptor (SCM_RIGHTS). */
struct io_message {
	struct io_request request;
	void *buffer;
	size_t length;
	int fd;   /* received, or -1; the receiver's to close */
	bool cut; /* one was sent, and there was no descriptor left for it */
	struct msghdr header;
	struct iovec iov;
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
};

struct io;

struct io_operations {
	const char *name; /* for the log */

	/* Asynchronous. */
	/* Accepts connections on a listening socket, again and again: done() is called with each new
	 * descriptor and the request stays pending. -errno ends it; asked again at once it may fail
	 * at once (-EMFILE), so who asks again waits first. */
	void (*accept)(struct io *, int fd, struct io_request *);
	void (*receive)(struct io *, int fd, void *buffer, size_t length, struct io_request *);
	void (*send)(struct io *, int fd, const void *buffer, size_t length, struct io_request *);
	/* Receives into message->buffer; done() takes message->fd out by io_message_finish(). */
	void (*receive_message)(struct io *, int fd, struct io_message *);
	/* Reads at an offset; or, with offset -1, from a descriptor without one (an eventfd). */
	void (*read)(
	    struct io *, int fd, void *buffer, size_t length, int64_t offset, struct io_request *);
	/* Writes at an offset of a log file. When it is done the bytes are durable, or, where the file was opened
	 * by io_open_cached(), in the page cache. May be short. */
	void (*write)(struct io *, int fd, const void *buffer, size_t length, int64_t offset,
	    struct io_request *);
	/* Makes durable what was written to a file. The result is 0 or -errno. */
	void (*sync)(struct io *, int fd, struct io_request *);

	/* Ends a request that is pending, if it still can be: done() is called all the same, with -ECANCELED
	 * or with what it came to. */
	void (*cancel)(struct io *, struct io_request *);

	/* Hands over what was asked for and waits until something is done, at most timeout_ns (0: does
	 * not wait). Then calls done() of all that is done. Returns 0 or -errno. */
	int (*run)(struct io *, int64_t timeout_ns);

	void (*destroy)(struct io *);
};

struct io {
	const struct io_operations *operations;
};

/* io_uring, or -errno (ENOSYS, EPERM: this kernel or container has none). */
int io_uring_create(struct io **);
/* poll(2) and plain system calls, which every machine has. 0 or -ENOMEM. */
int io_poll_create(struct io **);

/*
 * Calls that are rare and short, and so synchronous.
 */

/* Back ends: prepares message->header for recvmsg(2). */
void io_message_prepare(struct io_message *);
/* Takes the descriptor out of it, once; without one, or when it was taken, fd stays as it is. */
void io_message_finish(struct io_message *, int64_t result);

/* Opens a log file so that each write is durable when it returns (O_DSYNC). Returns fd or -errno. */
int io_open_log(const char *path, bool create, bool direct);
/* Opens one that is there so that writes go through the page cache, and wait for a sync. Likewise. */
int io_open_cached(const char *path);
int io_sync(int fd);
int io_close(int fd);
/* Takes room for so many bytes from the file's first on, where the file system can. Returns 0 or -errno. */
int io_allocate(int fd, uint64_t bytes);
/* Is rc that of a disk that is full: for all, for this user, or for files of this size (RLIMIT_FSIZE)? */
bool io_is_full(int rc);
/* Gives back the blocks of [from, from + bytes), which reads as zeros then. */
int io_punch(int fd, uint64_t from, uint64_t bytes);
/* Bytes of a directory's file system that are free for us. Returns 0 or -errno. */
int io_free_bytes(const char *dir, uint64_t *bytes);
/* Lets the page cache forget [from, from + bytes), as far as that is on the disk. */
void io_forget(int fd, uint64_t from, uint64_t bytes);
/* All of it, at an offset. Return 0 or -errno (-ENODATA at the end of the file). */
int io_read_all(int fd, void *buffer, size_t length, uint64_t offset);
int io_write_all(int fd, const void *buffer, size_t length, uint64_t offset);
int io_rename(const char *from, const char *to);
int io_unlink(const char *path);
int io_make_dir(const char *path); /* and syncs its parent, also when it is there already */
/* Sends bytes with descriptors on a stream socket whose buffer is empty: all or -errno. */
int io_send_fds(int fd, const void *buffer, size_t length, const int *fds, size_t count);

uint64_t io_wall_ns(void);      /* CLOCK_REALTIME */
uint64_t io_monotonic_ns(void); /* CLOCK_MONOTONIC */
void io_random(void *buffer, size_t length);

#endif
