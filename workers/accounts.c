#include "workers/accounts.h"

#include <errno.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct accounts {
	char path[PATH_MAX];
	sqlite3 *store;
	sqlite3 *known; /* in memory */
	sqlite3_stmt *read, *add, *find;
	sqlite3_int64 last; /* row that was read */
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
fail(struct accounts *accounts, sqlite3 *db, char *error, size_t error_bytes)
{
	snprintf(error, error_bytes, "bank accounts: %s", sqlite3_errmsg(db));
	close_all(accounts); /* the next try begins anew */
	return -EIO;
}

static int
open_all(struct accounts *accounts, char *error, size_t error_bytes)
{
	if (sqlite3_open(":memory:", &accounts->known) != SQLITE_OK ||
	    sqlite3_exec(accounts->known,
		"CREATE TABLE customers (id TEXT PRIMARY KEY) WITHOUT ROWID", NULL, NULL,
		NULL) != SQLITE_OK ||
	    sqlite3_prepare_v2(accounts->known, "INSERT OR IGNORE INTO customers VALUES (?1)", -1,
		&accounts->add, NULL) != SQLITE_OK ||
	    sqlite3_prepare_v2(accounts->known, "SELECT 1 FROM customers WHERE id = ?1", -1,
		&accounts->find, NULL) != SQLITE_OK)
		return fail(accounts, accounts->known, error, error_bytes);
	if (sqlite3_open_v2(accounts->path, &accounts->store, SQLITE_OPEN_READONLY, NULL) !=
		SQLITE_OK ||
	    sqlite3_busy_timeout(accounts->store, 5000) != SQLITE_OK ||
	    sqlite3_prepare_v2(accounts->store,
		"SELECT rowid, customer_id FROM bank_accounts WHERE rowid > ?1 ORDER BY rowid", -1,
		&accounts->read, NULL) != SQLITE_OK)
		return fail(accounts, accounts->store, error, error_bytes);
	return 0;
}

/* Reads what is new. */
static int
read_new(struct accounts *accounts, char *error, size_t error_bytes)
{
	int rc;

	sqlite3_bind_int64(accounts->read, 1, accounts->last);
	while ((rc = sqlite3_step(accounts->read)) == SQLITE_ROW) {
		sqlite3_bind_value(accounts->add, 1, sqlite3_column_value(accounts->read, 1));
		if (sqlite3_step(accounts->add) != SQLITE_DONE)
			return fail(accounts, accounts->known, error, error_bytes);
		sqlite3_reset(accounts->add);
		accounts->last = sqlite3_column_int64(accounts->read, 0);
	}
	if (rc != SQLITE_DONE)
		return fail(accounts, accounts->store, error, error_bytes);
	sqlite3_reset(accounts->read);
	return 0;
}

/* Returns 1, 0, or -EIO. */
static int
find(struct accounts *accounts, struct span customer_id, char *error, size_t error_bytes)
{
	int rc;

	sqlite3_bind_text(
	    accounts->find, 1, customer_id.data, (int)customer_id.length, SQLITE_STATIC);
	rc = sqlite3_step(accounts->find);
	sqlite3_reset(accounts->find);
	if (rc == SQLITE_ROW || rc == SQLITE_DONE)
		return rc == SQLITE_ROW;
	return fail(accounts, accounts->known, error, error_bytes);
}

int
accounts_has(struct accounts *accounts, struct span customer_id, char *error, size_t error_bytes)
{
	int rc = 0;

	if (accounts->store == NULL && access(accounts->path, F_OK) != 0 && errno == ENOENT)
		return 0;
	if (accounts->store == NULL)
		rc = open_all(accounts, error, error_bytes);
	if (rc == 0)
		rc = find(accounts, customer_id, error, error_bytes);
	if (rc != 0)
		return rc;
	rc = read_new(accounts, error, error_bytes);
	return rc == 0 ? find(accounts, customer_id, error, error_bytes) : rc;
}
