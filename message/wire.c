#include "message/wire.h"

#include <errno.h>
#include <msgpack.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"

enum {
	FDS_MAX = 253, /* SCM_MAX_FD */
	ANSWER_MS = 5000
};

bool
wire_header_valid(const struct wire_header *header)
{
	return header->type >= WIRE_HELLO && header->type <= WIRE_TRIED &&
	    header->length <= (header->type == WIRE_PUBLISH ? (uint32_t)WIRE_PUBLISH_BYTES
							    : (uint32_t)WIRE_SMALL_BYTES);
}

static uint64_t
big_endian(const uint8_t *data, size_t bytes)
{
	uint64_t value = 0;

	for (size_t i = 0; i < bytes; i++)
		value = value << 8 | data[i];
	return value;
}

/* The bytes of payload and, for a container, the objects that follow a tag. */
struct announced {
	uint64_t bytes, objects;
};

/* Reads one tag with its length field. Returns their size in bytes, or 0 for a cut or unknown
 * tag. */
static size_t
read_tag(const uint8_t *data, size_t length, struct announced *announced)
{
	/* Per tag, 0xc0 to 0xdf: bytes of the length field, and bytes of a value of fixed size. */
	static const uint8_t field[32] = { 0, 0, 0, 0, 1, 2, 4, 1, 2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 1, 2, 4, 2, 4, 2, 4 };
	static const uint8_t value[32] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 8, 1, 2, 4, 8, 1, 2, 4,
		8, 2, 3, 5, 9, 17, 0, 0, 0, 0, 0, 0, 0 };
	uint8_t tag = data[0];
	unsigned index;
	uint64_t n;

	*announced = (struct announced){ 0 };
	if (tag < 0x80 || tag >= 0xe0)
		return 1;
	if (tag < 0x90) {
		announced->objects = 2 * (uint64_t)(tag & 0x0f);
		return 1;
	}
	if (tag < 0xa0) {
		announced->objects = tag & 0x0f;
		return 1;
	}
	if (tag < 0xc0) {
		announced->bytes = tag & 0x1f;
		return 1;
	}
	if (tag == 0xc1)
		return 0;
	index = tag - 0xc0u;
	if (length < 1u + field[index])
		return 0;
	n = big_endian(data + 1, field[index]);
	if (tag >= 0xde)
		announced->objects = 2 * n;
	else if (tag >= 0xdc)
		announced->objects = n;
	else
		/* ext 8, 16 and 32 (0xc7 to 0xc9) have a type byte, which their length leaves
		 * out. */
		announced->bytes = n + value[index] + (tag >= 0xc7 && tag <= 0xc9);
	return 1u + field[index];
}

bool
wire_check(const void *data, size_t length, unsigned depth)
{
	const uint8_t *at = data;
	uint64_t open[32]; /* per open container: objects still missing */
	unsigned level = 0;

	if (depth > sizeof(open) / sizeof(open[0]))
		depth = sizeof(open) / sizeof(open[0]);
	for (;;) {
		struct announced announced;
		size_t tag_bytes = length > 0 ? read_tag(at, length, &announced) : 0;

		if (tag_bytes == 0)
			return false;
		at += tag_bytes;
		length -= tag_bytes;
		/* An object takes at least one byte, so more objects than bytes cannot be whole. */
		if (announced.bytes > length || announced.objects > length)
			return false;
		at += announced.bytes;
		length -= announced.bytes;
		if (announced.objects > 0) {
			if (level == depth)
				return false;
			open[level++] = announced.objects;
			continue;
		}
		while (level > 0 && --open[level - 1] == 0)
			level--;
		if (level == 0)
			return length == 0;
	}
}

/* Another user who created the directory first could listen on the socket in place of the
 * router. */
static int
check_peer(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
		return -errno;
	return geteuid() == 0 || peer.uid == 0 || peer.uid == geteuid() ? 0 : -EPERM;
}

/* SO_SNDTIMEO bounds connect(2) too: a Unix socket blocks there while the listener's queue is
 * full. */
static int
limit_sending(int fd, int timeout_ms)
{
	int ms = timeout_ms > 0 ? timeout_ms : 1;
	struct timeval limit = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000L };

	return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) == 0 ? 0 : -errno;
}

int
wire_connect(const char *run_dir, int timeout_ms)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd, rc;

	if (snprintf(address.sun_path, sizeof(address.sun_path), "%s/router.sock", run_dir) >=
	    (int)sizeof(address.sun_path))
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	rc = limit_sending(fd, timeout_ms);
	if (rc == 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		rc = errno == EAGAIN ? -ETIMEDOUT : -errno;
	if (rc == 0)
		rc = check_peer(fd);
	if (rc != 0)
		close(fd);
	return rc != 0 ? rc : fd;
}

static int
send_all(int fd, struct msghdr *message)
{
	while (message->msg_iovlen > 0) {
		ssize_t sent = sendmsg(fd, message, MSG_NOSIGNAL);

		if (sent < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		/* The descriptors were sent with the first byte. */
		message->msg_control = NULL;
		message->msg_controllen = 0;
		while (message->msg_iovlen > 0 && (size_t)sent >= message->msg_iov->iov_len) {
			sent -= (ssize_t)message->msg_iov->iov_len;
			message->msg_iov++;
			message->msg_iovlen--;
		}
		if (message->msg_iovlen > 0) {
			message->msg_iov->iov_base = (char *)message->msg_iov->iov_base + sent;
			message->msg_iov->iov_len -= (size_t)sent;
		}
	}
	return 0;
}

int
wire_send(int fd, enum wire_type type, const void *payload, size_t length, const int *fds,
    size_t fd_count)
{
	struct wire_header header = { .length = (uint32_t)length, .type = (uint8_t)type };
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov[2] = { { .iov_base = &header, .iov_len = sizeof(header) },
		{ .iov_len = length } };
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = length > 0 ? 2 : 1 };

	if (fd_count > FDS_MAX || !wire_header_valid(&header))
		return -EINVAL;
	memcpy(&iov[1].iov_base, &payload, sizeof(payload));
	if (fd_count > 0) {
		struct cmsghdr *rights;

		memset(&control, 0, sizeof(control));
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		rights = CMSG_FIRSTHDR(&message);
		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(rights), fds, fd_count * sizeof(int));
	}
	return send_all(fd, &message);
}

/* Appends the received descriptors to `fds` and closes those beyond `capacity`. */
static void
take_fds(struct msghdr *message, int *fds, size_t capacity, size_t *count)
{
	for (struct cmsghdr *at = CMSG_FIRSTHDR(message); at != NULL;
	     at = CMSG_NXTHDR(message, at)) {
		size_t n = (at->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(at) + i * sizeof(int), sizeof(int));
			if (*count < capacity)
				fds[(*count)++] = fd;
			else
				close(fd);
		}
	}
}

static int64_t
now_ms(void)
{
	return (int64_t)(clock_monotonic_ns() / 1000000);
}

static int
wait_readable(int fd, int64_t deadline_ms)
{
	struct pollfd poller = { .fd = fd, .events = POLLIN };
	int64_t left = deadline_ms < 0 ? -1 : deadline_ms - now_ms();
	int rc;

	if (deadline_ms >= 0 && left < 0)
		left = 0;
	rc = poll(&poller, 1, (int)left);
	if (rc < 0)
		return -errno;
	return rc == 0 ? -ETIMEDOUT : 0;
}

/* Receives exactly `length` bytes. */
static int
receive_all(int fd, void *buffer, size_t length, int *fds, size_t capacity, size_t *count,
    int64_t deadline_ms)
{
	for (size_t done = 0; done < length;) {
		union {
			struct cmsghdr align;
			char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
		} control;
		struct iovec iov = { .iov_base = (char *)buffer + done, .iov_len = length - done };
		struct msghdr message = {
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = control.bytes,
			.msg_controllen = sizeof(control.bytes),
		};
		int rc = wait_readable(fd, deadline_ms);
		ssize_t n;

		if (rc != 0)
			return rc;
		n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EPIPE;
		take_fds(&message, fds, capacity, count);
		/* `control` holds SCM_MAX_FD descriptors, so only a full descriptor table can cut
		 * them. */
		if (message.msg_flags & MSG_CTRUNC)
			return -EMFILE;
		done += (size_t)n;
	}
	return 0;
}

int
wire_receive(int fd, enum wire_type *type, void *buffer, size_t *length, int *fds, size_t *fd_count,
    int timeout_ms)
{
	int64_t deadline_ms = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
	size_t capacity = fd_count != NULL ? *fd_count : 0;
	size_t count = 0;
	struct wire_header header;
	int rc;

	rc = receive_all(fd, &header, sizeof(header), fds, capacity, &count, deadline_ms);
	if (rc == 0 && (!wire_header_valid(&header) || header.length > WIRE_SMALL_BYTES))
		rc = -EPROTO;
	if (rc == 0)
		rc = receive_all(fd, buffer, header.length, fds, capacity, &count, deadline_ms);
	if (rc != 0) {
		while (count > 0)
			close(fds[--count]);
		return rc;
	}
	*type = (enum wire_type)header.type;
	*length = header.length;
	if (fd_count != NULL)
		*fd_count = count;
	return 0;
}

static void
pack_text(msgpack_packer *packer, const char *text)
{
	msgpack_pack_str(packer, strlen(text));
	msgpack_pack_str_body(packer, text, strlen(text));
}

int
wire_send_hello(int fd, const struct wire_hello *hello, int lock_fd)
{
	msgpack_sbuffer buffer;
	msgpack_packer packer;
	int rc;

	msgpack_sbuffer_init(&buffer);
	msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
	msgpack_pack_array(&packer, 6);
	msgpack_pack_int(&packer, WIRE_VERSION);
	msgpack_pack_int(&packer, hello->role);
	pack_text(&packer, hello->program);
	pack_text(&packer, hello->name);
	if (hello->wants_receipts)
		msgpack_pack_true(&packer);
	else
		msgpack_pack_false(&packer);
	msgpack_pack_uint64(&packer, hello->lanes);
	rc = wire_send(fd, WIRE_HELLO, buffer.data, buffer.size, &lock_fd, lock_fd >= 0 ? 1 : 0);
	msgpack_sbuffer_destroy(&buffer);
	return rc == -EPIPE || rc == -ECONNRESET ? 0 : rc;
}

void
wire_poke(const char *run_dir, const char *program, int timeout_ms)
{
	static uint8_t payload[WIRE_SMALL_BYTES];
	const struct wire_hello hello = { .role = WIRE_CONTROL, .program = program, .name = "" };
	enum wire_type type;
	size_t length;
	int fd = wire_connect(run_dir, timeout_ms);

	if (fd < 0)
		return;
	if (wire_send_hello(fd, &hello, -1) == 0 &&
	    wire_receive(fd, &type, payload, &length, NULL, NULL, timeout_ms) == 0 &&
	    type == WIRE_WELCOME)
		wire_send(fd, WIRE_POKE, "\x90", 1, NULL, 0); /* an empty array */
	close(fd);
}
