#include "workers/accounts.h"

#include <errno.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "message/answer.h"

struct accounts {
	char path[PATH_MAX];
	struct file_id file; /* the store's */
	sqlite3 *store;           /* NULL: not open */
	sqlite3 *known;           /* customer ids, in memory */
	sqlite3_stmt *read;       /* of `store`; NULL: the table does not exist yet */
	sqlite3_stmt *add, *find; /* of `known` */
	sqlite3_int64 last;       /* row copied last */
};

struct accounts *
accounts_new(const char *store_path)
{
	struct accounts *accounts = calloc(1, sizeof(*accounts));

	if (accounts != NULL)
		snprintf(accounts->path, sizeof(accounts->path), "%s", store_path);
	return accounts;
}

static void
close_all(struct accounts *accounts)
{
	sqlite3_finalize(accounts->read);
	sqlite3_finalize(accounts->add);
	sqlite3_finalize(accounts->find);
	sqlite3_close(accounts->store);
	sqlite3_close(accounts->known);
	accounts->read = accounts->add = accounts->find = NULL;
	accounts->store = accounts->known = NULL;
	accounts->last = 0;
}

void
accounts_free(struct accounts *accounts)
{
	if (accounts != NULL)
		close_all(accounts);
	free(accounts);
}

static int
accounts_error(struct accounts *accounts, sqlite3 *db, char *error, size_t error_bytes)
{
	snprintf(error, error_bytes, ANSWER_STORE "bank accounts: %s", sqlite3_errmsg(db));
	close_all(accounts); /* the next call opens all again */
	return -EIO;
}

static int
open_all(struct accounts *accounts, char *error, size_t error_bytes)
{
	if (sqlite3_open(":memory:", &accounts->known) != SQLITE_OK ||
	    sqlite3_exec(accounts->known,
		"CREATE TABLE customers (id TEXT PRIMARY KEY) WITHOUT ROWID", NULL, NULL,
		NULL) != SQLITE_OK ||
	    sqlite3_prepare_v2(accounts->known, "INSERT OR IGNORE INTO customers (id) VALUES (?1)",
		-1, &accounts->add, NULL) != SQLITE_OK ||
	    sqlite3_prepare_v2(accounts->known, "SELECT 1 FROM customers WHERE id = ?1", -1,
		&accounts->find, NULL) != SQLITE_OK)
		return accounts_error(accounts, accounts->known, error, error_bytes);
	if (sqlite3_open_v2(accounts->path, &accounts->store, SQLITE_OPEN_READONLY, NULL) !=
		SQLITE_OK ||
	    sqlite3_busy_timeout(accounts->store, 5000) != SQLITE_OK)
		return accounts_error(accounts, accounts->store, error, error_bytes);
	return 0;
}

/* Opens the store. Returns 1, 0 if no store exists, or -EIO. The look comes before the open: if the
 * file is replaced in between, the next accounts_look() notices. */
static int
open_store(struct accounts *accounts, char *error, size_t error_bytes)
{
	int rc;

	accounts->file = (struct file_id){ 0 };
	if (file_named(accounts->path, &accounts->file) == -ENOENT)
		return 0;
	rc = open_all(accounts, error, error_bytes);
	return rc == 0 ? 1 : rc;
}

/* Returns 1 if the table exists, else 0, or -EIO. The store's worker creates the file first. */
static int
find_table(struct accounts *accounts, char *error, size_t error_bytes)
{
	sqlite3_stmt *look = NULL;
	int rc = sqlite3_prepare_v2(accounts->store,
	    "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'bank_accounts'", -1,
	    &look, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(look);
	sqlite3_finalize(look);
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		return accounts_error(accounts, accounts->store, error, error_bytes);
	return rc == SQLITE_ROW;
}

/* Prepares the statement for reading. Returns 1, 0 if the table does not exist yet, or -EIO. */
static int
prepare_read(struct accounts *accounts, char *error, size_t error_bytes)
{
	int rc = find_table(accounts, error, error_bytes);

	if (rc != 1)
		return rc;
	if (sqlite3_prepare_v2(accounts->store,
		"SELECT rowid, customer_id FROM bank_accounts WHERE rowid > ?1 ORDER BY rowid", -1,
		&accounts->read, NULL) != SQLITE_OK)
		return accounts_error(accounts, accounts->store, error, error_bytes);
	return 1;
}

/* Copies the rows behind the last copied one. Returns 0 or -EIO. */
static int
read_new(struct accounts *accounts, char *error, size_t error_bytes)
{
	int rc;

	sqlite3_bind_int64(accounts->read, 1, accounts->last);
	while ((rc = sqlite3_step(accounts->read)) == SQLITE_ROW) {
		sqlite3_bind_value(accounts->add, 1, sqlite3_column_value(accounts->read, 1));
		if (sqlite3_step(accounts->add) != SQLITE_DONE)
			return accounts_error(accounts, accounts->known, error, error_bytes);
		sqlite3_reset(accounts->add);
		accounts->last = sqlite3_column_int64(accounts->read, 0);
	}
	if (rc != SQLITE_DONE)
		return accounts_error(accounts, accounts->store, error, error_bytes);
	sqlite3_reset(accounts->read);
	return 0;
}

/* Looks a customer up in the copy. Returns 1, 0, or -EIO. */
static int
find_customer(struct accounts *accounts, struct span customer_id, char *error, size_t error_bytes)
{
	int rc;

	sqlite3_bind_text(
	    accounts->find, 1, customer_id.data, (int)customer_id.length, SQLITE_STATIC);
	rc = sqlite3_step(accounts->find);
	sqlite3_reset(accounts->find);
	if (rc == SQLITE_ROW || rc == SQLITE_DONE)
		return rc == SQLITE_ROW;
	return accounts_error(accounts, accounts->known, error, error_bytes);
}

void
accounts_look(struct accounts *accounts)
{
	if (accounts->store != NULL && file_has_name(&accounts->file, accounts->path) != 1)
		close_all(accounts);
}

int
accounts_has(struct accounts *accounts, struct span customer_id, char *error, size_t error_bytes)
{
	int rc = 1;

	if (accounts->store == NULL)
		rc = open_store(accounts, error, error_bytes);
	if (rc != 1)
		return rc;
	rc = find_customer(accounts, customer_id, error, error_bytes);
	if (rc != 0)
		return rc;
	rc = accounts->read == NULL ? prepare_read(accounts, error, error_bytes) : 1;
	if (rc == 1)
		rc = read_new(accounts, error, error_bytes) == 0 ? 1 : -EIO;
	return rc == 1 ? find_customer(accounts, customer_id, error, error_bytes) : rc;
}
