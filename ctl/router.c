#include "ctl/router.h"

#include <err.h>
#include <errno.h>
#include <msgpack.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { DEPTH = 4 };

static void
pack_text(msgpack_packer *packer, const char *text)
{
	size_t length = strlen(text);

	msgpack_pack_str(packer, length);
	msgpack_pack_str_body(packer, text, length);
}

/* Checks and unpacks an array of `size` objects. The caller destroys *unpacked in any case. */
static bool
unpack(msgpack_unpacked *unpacked, const void *payload, size_t length, uint32_t size)
{
	msgpack_unpacked_init(unpacked);
	return wire_check(payload, length, DEPTH) &&
	    msgpack_unpack_next(unpacked, payload, length, NULL) == MSGPACK_UNPACK_SUCCESS &&
	    unpacked->data.type == MSGPACK_OBJECT_ARRAY && unpacked->data.via.array.size == size;
}

static void
copy_text(char *to, size_t size, const msgpack_object *from)
{
	size_t length = from->type == MSGPACK_OBJECT_STR ? from->via.str.size : 0;

	if (length >= size)
		length = size - 1;
	if (length > 0)
		memcpy(to, from->via.str.ptr, length);
	to[length] = '\0';
}

/* [status, text] */
static void
router_refused(const void *payload, size_t length)
{
	msgpack_unpacked unpacked;
	char text[128] = "refused";

	if (unpack(&unpacked, payload, length, 2))
		copy_text(text, sizeof(text), &unpacked.data.via.array.ptr[1]);
	errx(EX_UNAVAILABLE, "router: %s", text);
}

int
router_connect(const struct ctl *ctl, int timeout_ms)
{
	static uint8_t payload[WIRE_SMALL_BYTES];
	const char *dir = ctl->config.run_dir;
	const struct wire_hello hello = {
		.role = WIRE_CONTROL,
		.program = "headgatectl",
		.name = "",
	};
	enum wire_type type;
	size_t length;
	int fd = wire_connect(dir, timeout_ms), rc;

	if (fd == -EACCES || fd == -EPERM)
		errx(EX_NOPERM, "%s/router.sock: %s", dir, strerror(-fd));
	if (fd == -ENOENT || fd == -ECONNREFUSED)
		ctl_no_router(ctl);
	if (fd < 0)
		errx(EX_UNAVAILABLE, "%s/router.sock: %s", dir, strerror(-fd));
	rc = wire_send_hello(fd, &hello, -1);
	if (rc == 0)
		rc = wire_receive(fd, &type, payload, &length, NULL, NULL, timeout_ms);
	if (rc != 0)
		errx(EX_UNAVAILABLE, "router: %s; nothing was changed", strerror(-rc));
	if (type != WIRE_WELCOME)
		router_refused(payload, length);
	return fd;
}

int
router_send_move(
    int fd, const char *queue, const char *target, const struct router_place *places, size_t count)
{
	msgpack_sbuffer buffer;
	msgpack_packer packer;
	int rc;

	msgpack_sbuffer_init(&buffer);
	msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
	msgpack_pack_array(&packer, 3);
	pack_text(&packer, queue);
	pack_text(&packer, target);
	msgpack_pack_array(&packer, count);
	for (size_t i = 0; i < count; i++) {
		msgpack_pack_array(&packer, 2);
		msgpack_pack_uint64(&packer, places[i].sequence);
		msgpack_pack_uint64(&packer, places[i].position);
	}
	rc = wire_send(fd, WIRE_MOVE, buffer.data, buffer.size, NULL, 0);
	msgpack_sbuffer_destroy(&buffer);
	return rc;
}

/* [moved, gone, status, text] */
static int
read_moved(struct router_moved *moved, const void *payload, size_t length)
{
	const msgpack_object *field;
	msgpack_unpacked unpacked;
	bool good = unpack(&unpacked, payload, length, 4);

	if (good) {
		field = unpacked.data.via.array.ptr;
		good = field[0].type == MSGPACK_OBJECT_POSITIVE_INTEGER &&
		    field[1].type == MSGPACK_OBJECT_POSITIVE_INTEGER &&
		    field[2].type == MSGPACK_OBJECT_POSITIVE_INTEGER &&
		    field[0].via.u64 <= WIRE_MOVE_MAX && field[1].via.u64 <= WIRE_MOVE_MAX &&
		    field[2].via.u64 <= 999;
	}
	if (good) {
		moved->moved = field[0].via.u64;
		moved->gone = field[1].via.u64;
		moved->status = (int)field[2].via.u64;
		copy_text(moved->text, sizeof(moved->text), &field[3]);
	}
	msgpack_unpacked_destroy(&unpacked);
	return good ? 0 : -EPROTO;
}

int
router_receive_moved(int fd, struct router_moved *moved)
{
	static uint8_t payload[WIRE_SMALL_BYTES];
	enum wire_type type;
	size_t length;
	int rc = wire_receive(fd, &type, payload, &length, NULL, NULL, ROUTER_ANSWER_MS);

	if (rc == 0 && type != WIRE_MOVED)
		rc = -EPROTO;
	return rc != 0 ? rc : read_moved(moved, payload, length);
}

int
router_blocked(int fd, const char *queue, uint64_t from, struct blocked_page *page)
{
	static uint8_t payload[WIRE_SMALL_BYTES];
	struct blocked_ask ask = { .from = from };
	msgpack_sbuffer buffer;
	enum wire_type type;
	size_t length;
	int rc;

	strlcpy(ask.queue, queue, sizeof(ask.queue));
	msgpack_sbuffer_init(&buffer);
	blocked_pack_ask(&buffer, &ask);
	rc = wire_send(fd, WIRE_GROUPS, buffer.data, buffer.size, NULL, 0);
	msgpack_sbuffer_destroy(&buffer);
	if (rc == 0)
		rc = wire_receive(fd, &type, payload, &length, NULL, NULL, ROUTER_ANSWER_MS);
	if (rc == 0 && (type != WIRE_GROUP_LIST || !blocked_read_page(page, from, payload, length)))
		rc = -EPROTO;
	return rc;
}

int
router_try(int fd, const struct blocked_try *try, int timeout_ms, struct blocked_tried *tried)
{
	static uint8_t payload[WIRE_SMALL_BYTES];
	msgpack_sbuffer buffer;
	enum wire_type type;
	size_t length;
	int rc;

	msgpack_sbuffer_init(&buffer);
	blocked_pack_try(&buffer, try);
	rc = wire_send(fd, WIRE_TRY, buffer.data, buffer.size, NULL, 0);
	msgpack_sbuffer_destroy(&buffer);
	if (rc == 0)
		rc = wire_receive(fd, &type, payload, &length, NULL, NULL, timeout_ms);
	if (rc == 0 && (type != WIRE_TRIED || !blocked_read_tried(tried, payload, length)))
		rc = -EPROTO;
	return rc;
}
