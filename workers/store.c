#include "workers/store.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "log/list.h"
#include "message/answer.h"
#include "message/mask.h"
#include "workers/service.h"

enum {
	APPLICATION_ID = 0x48474154, /* "HGAT", in the database's header */
	SCHEMA_VERSION = 1
};

enum statement {
	BEGIN,
	COMMIT,
	ROLLBACK,
	APPLY,
	FAIL,
	HIGHEST,
	FIND_APPLIED,
	FIND_FAILED,
	STATEMENTS
};

/* SQLite's files, https://www.sqlite.org/walformat.html: the database, the write-ahead log, and the
 * log's index. All three exist while the store is open. */
static const char *const endings[] = { "", "-wal", "-shm" };
enum {
	FILES = sizeof(endings) / sizeof(endings[0]),
	URI_BYTES = 3 * PATH_MAX + 32 /* an escaped byte takes three */
};

struct store {
	const struct service *service;
	char path[PATH_MAX];
	struct file_id file[FILES]; /* the open files */
	bool is_new;
	bool failed; /* by an error other than a lock: open the store again before the next use */
	sqlite3 *db; /* NULL: opening the store again failed */
	sqlite3_stmt *statement[STATEMENTS];
	char *masked; /* buffer for a masked body */
	size_t masked_bytes;
	char error[SERVICE_REASON_BYTES];
};

static const char failures_table[] =
    "CREATE TABLE IF NOT EXISTS failures ("
    "log INTEGER NOT NULL, sequence INTEGER NOT NULL, lane INTEGER NOT NULL, "
    "message_id TEXT NOT NULL, customer_id TEXT, code INTEGER NOT NULL, error_type TEXT NOT NULL, "
    "reason TEXT NOT NULL, failed_at TEXT NOT NULL, body TEXT NOT NULL, UNIQUE (log, sequence))";

/* errno of the last system call that failed on the write-ahead log, else on the database; 0:
 * unknown. sqlite3_system_errno() is no replacement: it yields 0 after a failed write. */
static int
last_errno(sqlite3 *db)
{
	sqlite3_file *log = NULL;
	int error = 0;

	sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
	if (log != NULL && log->pMethods != NULL)
		log->pMethods->xFileControl(log, SQLITE_FCNTL_LAST_ERRNO, &error);
	if (error == 0)
		sqlite3_file_control(db, "main", SQLITE_FCNTL_LAST_ERRNO, &error);
	return error;
}

/* SQLite reports SQLITE_READONLY without a file's name. Sets the error to the first file that
 * cannot be written; false if all can. */
static bool
name_read_only(struct store *store)
{
	for (int i = 0; i < FILES; i++) {
		char path[PATH_MAX + 8];

		snprintf(path, sizeof(path), "%s%s", store->path, endings[i]);
		if (faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0 || errno == ENOENT)
			continue;
		snprintf(store->error, sizeof(store->error), ANSWER_STORE "%s.db%s cannot be written: %s",
		    store->service->queue, endings[i], strerror(errno));
		return true;
	}
	return false;
}

static int
remember_error(struct store *store)
{
	int code = sqlite3_errcode(store->db) & 0xff;
	int error = code == SQLITE_IOERR ? last_errno(store->db) : 0;

	store->failed |= code != SQLITE_BUSY && code != SQLITE_LOCKED;
	if (code == SQLITE_READONLY && name_read_only(store))
		return -EIO;
	snprintf(store->error, sizeof(store->error), ANSWER_STORE "%s%s%s", sqlite3_errmsg(store->db),
	    error != 0 ? ": " : "", error != 0 ? strerror(error) : "");
	return -EIO;
}

const char *
store_error(const struct store *store)
{
	return store->error;
}

static int
execute(struct store *store, const char *sql)
{
	return sqlite3_exec(store->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0
									   : remember_error(store);
}

/* Runs a statement without result rows. */
static int
run(struct store *store, enum statement which)
{
	sqlite3_stmt *statement = store->statement[which];
	int rc = sqlite3_step(statement) == SQLITE_DONE ? 0 : remember_error(store);

	sqlite3_reset(statement);
	return rc;
}

/* Runs a statement that inserts one row. A trigger can drop the row without an
 * error. */
static int
insert(struct store *store, enum statement which)
{
	int rc = run(store, which);

	if (rc != 0 || sqlite3_changes(store->db) == 1)
		return rc;
	snprintf(store->error, sizeof(store->error),
	    ANSWER_STORE "%s.db: table %s took no row: look for a trigger on it",
	    store->service->queue, which == APPLY ? store->service->name : "failures");
	return -EIO;
}

static int
read_number(struct store *store, const char *sql, int *number)
{
	sqlite3_stmt *statement;
	int rc = -EIO;

	if (sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL) != SQLITE_OK)
		return remember_error(store);
	if (sqlite3_step(statement) == SQLITE_ROW) {
		*number = sqlite3_column_int(statement, 0);
		rc = 0;
	} else {
		remember_error(store);
	}
	sqlite3_finalize(statement);
	return rc;
}

/* Marks a new database with our application id and version. Any other database without these marks
 * is refused and left unchanged. */
static int
check_version(struct store *store)
{
	char sql[128];
	int application = 0, version = 0, tables = 0;
	int rc = read_number(store, "PRAGMA application_id", &application);

	if (rc == 0)
		rc = read_number(store, "PRAGMA user_version", &version);
	if (rc == 0)
		rc = read_number(store, "SELECT count(*) FROM sqlite_master", &tables);
	if (rc != 0)
		return rc;
	if (application == APPLICATION_ID && version == SCHEMA_VERSION)
		return 0;
	if (application != 0 || version != 0 || tables != 0) {
		snprintf(store->error, sizeof(store->error),
		    "not a store of this version of Headgate (application_id %d, user_version %d)",
		    application, version);
		return -ESTALE;
	}
	store->is_new = true;
	/* One transaction, because a store with one of the two marks would be refused for ever. */
	snprintf(sql, sizeof(sql),
	    "BEGIN; PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT", APPLICATION_ID,
	    SCHEMA_VERSION);
	return execute(store, sql);
}

static int
prepare(struct store *store, enum statement which, const char *sql)
{
	return sqlite3_prepare_v3(store->db, sql, -1, SQLITE_PREPARE_PERSISTENT,
		   &store->statement[which], NULL) == SQLITE_OK
	    ? 0
	    : remember_error(store);
}

static int
prepare_all(struct store *store)
{
	const char *table = store->service->name;
	char highest[512], find[128];
	int rc;

	snprintf(highest, sizeof(highest),
	    "SELECT max(coalesce((SELECT max(sequence) FROM %s WHERE log = ?1), 0), "
	    "coalesce((SELECT max(sequence) FROM failures WHERE log = ?1), 0))",
	    table);
	snprintf(find, sizeof(find), "SELECT message_id FROM %s WHERE log = ?1 AND sequence = ?2",
	    table);
	rc = prepare(store, BEGIN, "BEGIN IMMEDIATE");
	if (rc == 0)
		rc = prepare(store, COMMIT, "COMMIT");
	if (rc == 0)
		rc = prepare(store, ROLLBACK, "ROLLBACK");
	if (rc == 0)
		rc = prepare(store, APPLY, store->service->insert);
	if (rc == 0)
		rc = prepare(store, FAIL,
		    "INSERT INTO failures (log, sequence, lane, message_id, customer_id, code, "
		    "error_type, reason, failed_at, body) VALUES (?1,?2,?3,?4,?5,?6,?10,?7,?8,?9)");
	if (rc == 0)
		rc = prepare(store, HIGHEST, highest);
	if (rc == 0)
		rc = prepare(store, FIND_APPLIED, find);
	if (rc == 0)
		rc = prepare(store, FIND_FAILED,
		    "SELECT message_id, code, reason FROM failures WHERE log = ?1 AND sequence = "
		    "?2");
	return rc;
}

/* On a file system without shared memory, SQLite keeps the old journal mode and reports no error.
 * The resulting mode is therefore compared. */
static int
set_wal(struct store *store)
{
	sqlite3_stmt *statement;
	bool good = false;

	if (sqlite3_prepare_v2(store->db, "PRAGMA journal_mode = WAL", -1, &statement, NULL) !=
	    SQLITE_OK)
		return remember_error(store);
	if (sqlite3_step(statement) == SQLITE_ROW)
		good = sqlite3_stricmp((const char *)sqlite3_column_text(statement, 0), "wal") == 0;
	sqlite3_finalize(statement);
	if (!good) {
		snprintf(store->error, sizeof(store->error),
		    "write-ahead logging is not to be had on this file system");
		return -EIO;
	}
	return execute(store, "PRAGMA synchronous = FULL");
}

static void
make_path(const struct store *store, int which, char path[PATH_MAX + 8])
{
	snprintf(path, PATH_MAX + 8, "%s%s", store->path, endings[which]);
}

static int
remember_files(struct store *store)
{
	for (int i = 0; i < FILES; i++) {
		char path[PATH_MAX + 8];
		int rc;

		make_path(store, i, path);
		rc = file_named(path, &store->file[i]);
		if (rc == 0)
			continue;
		snprintf(store->error, sizeof(store->error), "no file with the ending \"%s\": %s",
		    endings[i], strerror(-rc));
		return -EIO; /* not -ENOENT, which means that no store exists */
	}
	return 0;
}

/* Checks that the first `files` files are still at their paths. SQLite does not notice the removal
 * of an open file, and would go on writing to a file without a name. */
static int
check_files(struct store *store, int files)
{
	for (int i = 0; i < files; i++) {
		char path[PATH_MAX + 8];
		int rc;

		make_path(store, i, path);
		rc = file_has_name(&store->file[i], path);
		if (rc == 1)
			continue;
		if (rc < 0)
			snprintf(store->error, sizeof(store->error), ANSWER_STORE "%s.db%s: %s",
			    store->service->queue, endings[i], strerror(-rc));
		else
			snprintf(store->error, sizeof(store->error),
			    ANSWER_STORE "%s.db%s was removed or replaced under the worker",
			    store->service->queue, endings[i]);
		store->failed = true;
		return -EIO;
	}
	return 0;
}

/* psow=0 (no powersafe overwrite, https://www.sqlite.org/psow.html): a power cut during a write may
 * destroy the whole sector. With psow=0 SQLite pads the log, so that no commit shares a sector with
 * the previous one. */
static void
make_uri(char uri[URI_BYTES], const char *path)
{
	char *at = uri + sprintf(uri, "file://");

	for (; *path != '\0'; path++)
		if (isalnum((unsigned char)*path) || strchr("/._-", *path) != NULL)
			*at++ = *path;
		else
			at += sprintf(at, "%%%02x", (unsigned char)*path);
	strcpy(at, "?psow=0");
}

/* flags: additional ones for sqlite3_open_v2(). */
static int
open_database(struct store *store, int flags)
{
	char uri[URI_BYTES];
	int rc;

	make_uri(uri, store->path);
	if (sqlite3_open_v2(uri, &store->db,
		SQLITE_OPEN_URI | SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | flags,
		NULL) != SQLITE_OK)
		return remember_error(store);
	sqlite3_busy_timeout(store->db, 5000);
	/* First of all, as setting the journal mode writes to the file. */
	rc = check_version(store);
	if (rc == 0)
		rc = set_wal(store);
	if (rc == 0)
		rc = execute(store, store->service->table);
	if (rc == 0)
		rc = execute(store, failures_table);
	if (rc == 0)
		rc = prepare_all(store);
	return rc == 0 ? remember_files(store) : rc;
}

static void
close_database(struct store *store)
{
	for (int i = 0; i < STATEMENTS; i++) {
		sqlite3_finalize(store->statement[i]);
		store->statement[i] = NULL;
	}
	sqlite3_close(store->db);
	store->db = NULL;
}

/* Opens the store again after an error whose cause may be gone. A new open is needed, because a
 * descriptor that was opened read-only stays read-only. Only the same files are accepted, and none
 * is created. */
static int
open_again(struct store *store)
{
	const struct file_id was = store->file[0];
	int rc = check_files(store, store->db != NULL ? FILES : 1);

	if (rc != 0)
		return rc;
	close_database(store);
	rc = open_database(store, 0);
	store->file[0] = was;
	if (rc == 0)
		rc = check_files(store, FILES);
	if (rc != 0) {
		close_database(store);
		return -EIO;
	}
	store->failed = false;
	return 0;
}

static int
use(struct store *store)
{
	return store->failed ? open_again(store) : 0;
}

static bool
is_damaged(const struct store *store)
{
	int code = sqlite3_errcode(store->db);

	return code == SQLITE_NOTADB || code == SQLITE_CORRUPT;
}

int
store_open(struct store **out, const char *state_dir, const struct service *service, bool make,
    char *error, size_t error_bytes)
{
	char path[PATH_MAX];
	struct store *store;
	struct stat st;
	int rc;

	*out = NULL;
	snprintf(path, sizeof(path), "%s/stores/%s.db", state_dir, service->queue);
	if (!make && access(path, F_OK) != 0 && errno == ENOENT)
		return -ENOENT;
	snprintf(path, sizeof(path), "%s/stores", state_dir);
	rc = !make || mkdir(path, 0700) == 0 || errno == EEXIST ? log_sync_dir(state_dir) : -errno;
	if (rc != 0) {
		snprintf(error, error_bytes, "%s: %s", path, strerror(-rc));
		return rc;
	}
	store = calloc(1, sizeof(*store));
	if (store == NULL)
		return -ENOMEM;
	store->service = service;
	snprintf(store->path, sizeof(store->path), "%s/stores/%s.db", state_dir, service->queue);
	if (stat(store->path, &st) == 0 && !S_ISREG(st.st_mode)) {
		snprintf(error, error_bytes, "%s: not a plain file: move it away", store->path);
		store_close(store);
		return -EBADMSG;
	}
	rc = open_database(store, make ? SQLITE_OPEN_CREATE : 0);
	if (rc != 0 && is_damaged(store))
		rc = -EBADMSG;
	if (rc != 0) {
		snprintf(error, error_bytes, "%s: %s", store->path, store->error);
		store_close(store);
		return rc;
	}
	*out = store;
	return 0;
}

void
store_close(struct store *store)
{
	if (store == NULL)
		return;
	close_database(store);
	free(store->masked);
	free(store);
}

bool
store_is_new(const struct store *store)
{
	return store->is_new;
}

int
store_highest(struct store *store, uint64_t log, uint64_t *sequence)
{
	sqlite3_stmt *statement;
	int rc = use(store);

	if (rc != 0)
		return rc;
	rc = -EIO;
	statement = store->statement[HIGHEST];
	sqlite3_bind_int64(statement, 1, (int64_t)log);
	if (sqlite3_step(statement) == SQLITE_ROW) {
		*sequence = (uint64_t)sqlite3_column_int64(statement, 0);
		rc = 0;
	} else {
		remember_error(store);
	}
	sqlite3_reset(statement);
	return rc;
}

/* Returns 1 if the row has this message's id, else -EEXIST. */
static int
check_id(struct store *store, sqlite3_stmt *row, const struct message *message)
{
	struct span id = message->envelope.message_id;
	const char *its = (const char *)sqlite3_column_text(row, 0);

	if (its != NULL && (size_t)sqlite3_column_bytes(row, 0) == id.length &&
	    memcmp(its, id.data, id.length) == 0)
		return 1;
	snprintf(store->error, sizeof(store->error),
	    "the log lost its end: sequence %" PRIu64 " was given before, to message %s",
	    message->sequence, its ? its : "");
	return -EEXIST;
}

/* Looks up a row by (log, sequence). Returns 1 for a row of this message, and leaves the statement
 * on the row; 0 for no row; -EEXIST or -EIO. */
static int
look_up(struct store *store, enum statement which, const struct message *message)
{
	sqlite3_stmt *statement = store->statement[which];
	int step, rc = 0;

	sqlite3_bind_int64(statement, 1, (int64_t)message->log);
	sqlite3_bind_int64(statement, 2, (int64_t)message->sequence);
	step = sqlite3_step(statement);
	if (step == SQLITE_ROW)
		rc = check_id(store, statement, message);
	else if (step != SQLITE_DONE)
		rc = remember_error(store);
	if (rc != 1)
		sqlite3_reset(statement);
	return rc;
}

int
store_find(struct store *store, const struct message *message, struct outcome *outcome)
{
	sqlite3_stmt *failed = store->statement[FIND_FAILED];
	int rc = look_up(store, FIND_APPLIED, message);

	if (rc == 1) {
		sqlite3_reset(store->statement[FIND_APPLIED]);
		service_answer(outcome, 200, "");
	}
	if (rc != 0)
		return rc;
	rc = look_up(store, FIND_FAILED, message);
	if (rc == 1) {
		const char *reason = (const char *)sqlite3_column_text(failed, 2);

		service_answer(outcome, sqlite3_column_int(failed, 1), reason ? reason : "");
		sqlite3_reset(failed);
	}
	return rc;
}

int
store_begin(struct store *store)
{
	int rc = use(store);

	return rc == 0 ? run(store, BEGIN) : rc;
}

static void
bind_key(sqlite3_stmt *statement, const struct message *message)
{
	sqlite3_bind_int64(statement, 1, (int64_t)message->log);
	sqlite3_bind_int64(statement, 2, (int64_t)message->sequence);
	sqlite3_bind_int(statement, 3, (int)message->lane);
	service_bind_text(statement, 4, message->envelope.message_id);
}

int
store_apply(struct store *store, const struct service_context *context,
    const struct message *message, double processing_ms)
{
	sqlite3_stmt *statement = store->statement[APPLY];

	bind_key(statement, message);
	sqlite3_bind_text(statement, 6, context->now, -1, SQLITE_STATIC);
	sqlite3_bind_double(statement, 7, processing_ms);
	store->service->bind(context, message, statement);
	return insert(store, APPLY);
}

/* Replaces the body by a masked copy. The dead-letter queue has the original. Returns 0 or -EIO. */
static int
mask_failure(struct store *store, const struct service_context *context, struct span *body)
{
	size_t needed = mask_capacity(body->length), length;

	if (store->masked_bytes < needed) {
		free(store->masked);
		store->masked = malloc(needed);
		store->masked_bytes = store->masked != NULL ? needed : 0;
	}
	if (store->masked == NULL) {
		snprintf(store->error, sizeof(store->error), ANSWER_STORE "out of memory");
		return -EIO;
	}
	if (mask_body(context->reader, body->data, body->length, store->masked, &length) !=
	    JSON_OK) {
		length = body->length;
		memcpy(store->masked, body->data, length);
		mask_digits(store->masked, length);
	}
	*body = (struct span){ store->masked, length };
	return 0;
}

int
store_fail(struct store *store, const struct service_context *context,
    const struct message *message, const struct outcome *outcome)
{
	sqlite3_stmt *statement = store->statement[FAIL];
	struct span body = message->envelope.body;
	struct json_value customer;

	if (mask_failure(store, context, &body) != 0)
		return -EIO;
	bind_key(statement, message);
	if (envelope_find_attribute(&message->envelope, "customer_id", 11, &customer) &&
	    customer.type == JSON_STRING)
		service_bind_text(statement, 5, customer.raw);
	else
		sqlite3_bind_null(statement, 5);
	sqlite3_bind_int(statement, 6, outcome->status);
	sqlite3_bind_text(statement, 7, outcome->reason, -1, SQLITE_STATIC);
	sqlite3_bind_text(statement, 8, context->now, -1, SQLITE_STATIC);
	service_bind_text(statement, 9, body);
	sqlite3_bind_text(statement, 10, outcome->status < 500 ? "client_error" : "server_error",
	    -1, SQLITE_STATIC);
	return insert(store, FAIL);
}

int
store_commit(struct store *store)
{
	int rc = run(store, COMMIT);

	/* Checked after the commit: a success means that the commit went to the files at the
	 * paths. */
	return rc == 0 ? check_files(store, FILES) : rc;
}

void
store_rollback(struct store *store)
{
	/* SQLite itself rolls back after some errors. */
	if (store->db != NULL && !sqlite3_get_autocommit(store->db))
		sqlite3_step(store->statement[ROLLBACK]);
	sqlite3_reset(store->statement[ROLLBACK]);
}
