/*
 * headgate-bank-account(8): the worker of queue bank-account-setup.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "workers/service.h"

enum {
	ID_BYTES = 48,
	ROUTING_DIGITS = 9,
	ACCOUNT_DIGITS_MAX = 17,
	MASK_BYTES = 9,  /* ****1234 */
	SLOW_SECONDS = 3 /* of work, for the fault marker */
};

enum field { CUSTOMER_ID, ROUTING_NUMBER, ACCOUNT_NUMBER, ACCOUNT_TYPE, FIELDS };
static const char *const names[FIELDS] = { "customer_id", "routing_number", "account_number",
	"account_type" };

struct account {
	struct span customer_id, routing_number, account_type;
	char masked[MASK_BYTES];
	char bank_name[16];
	char validation_id[ID_BYTES];
};

static bool
all_digits(struct span text)
{
	for (size_t i = 0; i < text.length; i++)
		if (text.data[i] < '0' || text.data[i] > '9')
			return false;
	return true;
}

/* The checksum of ABA routing numbers: the sum of the digits, weighted 3, 7, 1, is a multiple of
 * ten (https://en.wikipedia.org/wiki/ABA_routing_transit_number). */
static bool
aba_valid(struct span routing)
{
	static const int weights[] = { 3, 7, 1 };
	int sum = 0;

	for (size_t i = 0; i < routing.length; i++)
		sum += weights[i % 3] * (routing.data[i] - '0');
	return sum % 10 == 0;
}

static bool
routing_valid(const struct service_context *context, struct span routing)
{
	return routing.length == ROUTING_DIGITS && all_digits(routing) &&
	    (!context->config->routing_check_aba || aba_valid(routing));
}

/* Asterisks and the last four digits. The store keeps no more of an account number. */
static void
mask(char masked[MASK_BYTES], struct span number)
{
	size_t shown = number.length < 4 ? number.length : 4;

	snprintf(masked, MASK_BYTES, "****%.*s", (int)shown, number.data + (number.length - shown));
}

static void
work_slowly(void)
{
	struct timespec left = { .tv_sec = SLOW_SECONDS };

	while (nanosleep(&left, &left) != 0)
		;
}

/* Fills the row from checked fields. */
static void
fill(struct account *account, const struct message *message, struct span number)
{
	char *at;

	mask(account->masked, number);
	snprintf(account->bank_name, sizeof(account->bank_name), "Bank of %.3s",
	    account->routing_number.data);
	at = service_put_hex(stpcpy(account->validation_id, "VAL-"), message->log);
	service_put_decimal(stpcpy(at, "-"), message->sequence);
	if (account->account_type.data == NULL)
		account->account_type = (struct span){ "checking", 8 };
}

static const char *
missing_field(const struct json_value values[FIELDS])
{
	for (int i = CUSTOMER_ID; i <= ACCOUNT_NUMBER; i++)
		if (service_is_missing(&values[i]))
			return names[i];
	return NULL;
}

static void
bank_account_handle(
    struct service_context *context, const struct message *message, struct outcome *outcome)
{
	struct account *account = context->row;
	struct span body = message->envelope.body;
	struct service_scratch *scratch = service_scratch_begin(body.length);
	struct json_value values[FIELDS];
	struct span number;
	enum json_error error;

	error = json_pick(context->reader, body.data, body.length, names, FIELDS, values);
	if (error != JSON_OK) {
		service_not_json(outcome, context, body, error);
		return;
	}
	if (missing_field(values) != NULL) {
		service_missing(outcome, missing_field(values));
		return;
	}
	if (!service_has_text(&values[CUSTOMER_ID])) {
		service_invalid(outcome, names[CUSTOMER_ID]);
		return;
	}
	account->customer_id = service_text(scratch, &values[CUSTOMER_ID]);
	account->routing_number = service_text(scratch, &values[ROUTING_NUMBER]);
	account->account_type = service_text(scratch, &values[ACCOUNT_TYPE]);
	number = service_text(scratch, &values[ACCOUNT_NUMBER]);
	if (!routing_valid(context, account->routing_number)) {
		service_answer(outcome, 400, "Invalid routing number format");
		return;
	}
	if (number.length == 0 || number.length > ACCOUNT_DIGITS_MAX || !all_digits(number)) {
		service_answer(outcome, 400, "Invalid account number format");
		return;
	}
	if (!service_may_have_text(&values[ACCOUNT_TYPE])) {
		service_invalid(outcome, names[ACCOUNT_TYPE]);
		return;
	}
	if (context->config->fault_markers && service_contains(account->customer_id, "SLOW"))
		work_slowly();
	switch (service_fault(context, account->customer_id)) {
	case 400:
		service_answer(outcome, 400, "Invalid account number format");
		return;
	case 500:
		service_answer(outcome, 500, "Bank validation service temporarily unavailable");
		return;
	}
	fill(account, message, number);
	service_answer(outcome, 200, "");
}

static void
bank_account_bind(
    const struct service_context *context, const struct message *message, sqlite3_stmt *insert)
{
	const struct account *account = context->row;

	(void)message;
	service_bind_text(insert, 5, account->customer_id);
	sqlite3_bind_text(insert, 8, account->validation_id, -1, SQLITE_STATIC);
	service_bind_text(insert, 9, account->routing_number);
	sqlite3_bind_text(insert, 10, account->masked, -1, SQLITE_STATIC);
	sqlite3_bind_text(insert, 11, account->bank_name, -1, SQLITE_STATIC);
	service_bind_text(insert, 12, account->account_type);
}

static void
bank_account_print(const struct service_context *context, const struct message *message, FILE *out)
{
	const struct account *account = context->row;

	(void)message;
	service_print_text(out, "validation_id",
	    (struct span){ account->validation_id, strlen(account->validation_id) });
	service_print_text(out, "customer_id", account->customer_id);
	service_print_text(out, "account_status", (struct span){ "validated", 9 });
	service_print_text(out, "routing_number", account->routing_number);
	service_print_text(out, "account_number_masked",
	    (struct span){ account->masked, strlen(account->masked) });
	service_print_text(
	    out, "bank_name", (struct span){ account->bank_name, strlen(account->bank_name) });
	service_print_text(out, "account_type", account->account_type);
}

const struct service service_bank_account = {
	.program = "headgate-bank-account",
	.queue = "bank-account-setup",
	.name = "bank_accounts",
	.table = "CREATE TABLE IF NOT EXISTS bank_accounts ("
		 "log INTEGER NOT NULL, sequence INTEGER NOT NULL, lane INTEGER NOT NULL, "
		 "message_id TEXT NOT NULL, customer_id TEXT NOT NULL, validated_at TEXT NOT NULL, "
		 "processing_ms REAL NOT NULL, validation_id TEXT NOT NULL, "
		 "routing_number TEXT NOT NULL, account_number_masked TEXT NOT NULL, "
		 "bank_name TEXT NOT NULL, account_type TEXT NOT NULL, status TEXT NOT NULL, "
		 "UNIQUE (log, sequence))",
	.insert = "INSERT INTO bank_accounts (log, sequence, lane, message_id, customer_id, "
		  "validated_at, processing_ms, validation_id, routing_number, "
		  "account_number_masked, bank_name, account_type, status) "
		  "VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,'validated')",
	.row_bytes = sizeof(struct account),
	.handle = bank_account_handle,
	.bind = bank_account_bind,
	.print = bank_account_print,
};
