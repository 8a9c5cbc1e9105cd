/*
 * headgate-payment(8): the worker of queue payment-processing.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "workers/accounts.h"
#include "workers/amount.h"
#include "workers/service.h"

enum { ID_BYTES = 48 };

enum field { CUSTOMER_ID, AMOUNT, PAYMENT_METHOD, BILL_TYPE, DUE_DATE, CURRENCY, FIELDS };
static const char *const names[FIELDS] = { "customer_id", "amount", "payment_method", "bill_type",
	"due_date", "currency" };

struct payment {
	struct span customer_id, payment_method, bill_type, due_date, currency;
	int64_t amount_cents, fees_cents;
	char transaction_id[ID_BYTES], confirmation_number[ID_BYTES];
};

static char accounts_path[CONFIG_PATH_BYTES + 64];

static bool
read_amount(struct service_scratch *scratch, const struct json_value *value, int64_t *cents)
{
	struct span text = value->type == JSON_NUMBER ? value->raw : service_text(scratch, value);

	return text.data != NULL && amount_parse(text, cents) == 0;
}

static const char *
missing_field(const struct json_value values[FIELDS])
{
	for (int i = CUSTOMER_ID; i <= PAYMENT_METHOD; i++)
		if (service_is_missing(&values[i]))
			return names[i];
	return NULL;
}

/* The first field of the wrong type, or NULL; reads the amount. */
static const char *
invalid_field(
    struct service_scratch *scratch, const struct json_value values[FIELDS], int64_t *amount_cents)
{
	for (int i = CUSTOMER_ID; i < FIELDS; i++) {
		bool good = i == AMOUNT ? read_amount(scratch, &values[i], amount_cents)
					: service_may_have_text(&values[i]);

		if (!good)
			return names[i];
	}
	return NULL;
}

static void
make_ids(struct payment *payment, const struct message *message)
{
	char *at = service_put_hex(stpcpy(payment->transaction_id, "TXN-"), message->log);

	service_put_decimal(stpcpy(at, "-"), message->sequence);
	at = service_put_decimal(stpcpy(payment->confirmation_number, "CONF-"), message->sequence);
	service_put_hex(stpcpy(at, "-"), message->log);
}

/* False with the outcome set: 400 for a customer without a bank account, 500 if the store of
 * accounts cannot be read. */
static bool
has_account(uint64_t batch, struct span customer_id, struct outcome *outcome)
{
	static struct accounts *accounts;
	static uint64_t looked; /* batch of the last accounts_look() */
	char error[SERVICE_REASON_BYTES] = "out of memory";
	int rc = -ENOMEM;

	if (accounts == NULL)
		accounts = accounts_new(accounts_path);
	if (accounts != NULL && looked != batch)
		accounts_look(accounts);
	looked = batch;
	if (accounts != NULL)
		rc = accounts_has(accounts, customer_id, error, sizeof(error));
	if (rc < 0)
		service_answer(outcome, 500, error);
	if (rc == 0)
		service_answer(outcome, 400, "No bank account is set up for this customer");
	return rc == 1;
}

static int
payment_begin(const struct config_options *options, char *error, size_t error_bytes)
{
	static struct config config;
	int rc = config_load(&config, options, error, error_bytes);

	if (rc != 0)
		return rc;
	snprintf(accounts_path, sizeof(accounts_path), "%s/stores/%s.db", config.state_dir,
	    service_bank_account.queue);
	config_free(&config);
	return 0;
}

static void
payment_handle(
    struct service_context *context, const struct message *message, struct outcome *outcome)
{
	struct payment *payment = context->row;
	struct span body = message->envelope.body;
	struct service_scratch *scratch = service_scratch_begin(body.length);
	struct json_value values[FIELDS];
	enum json_error error;
	const char *field;

	error = json_pick(context->reader, body.data, body.length, names, FIELDS, values);
	if (error != JSON_OK) {
		service_not_json(outcome, context, body, error);
		return;
	}
	field = missing_field(values);
	if (field != NULL) {
		service_missing(outcome, field);
		return;
	}
	field = invalid_field(scratch, values, &payment->amount_cents);
	if (field != NULL) {
		service_invalid(outcome, field);
		return;
	}
	payment->customer_id = service_text(scratch, &values[CUSTOMER_ID]);
	switch (service_fault(context, payment->customer_id)) {
	case 400:
		service_answer(outcome, 400, "Insufficient funds in account");
		return;
	case 500:
		service_answer(outcome, 500, "Payment gateway temporarily unavailable");
		return;
	}
	if (context->config->require_account &&
	    !has_account(context->batch, payment->customer_id, outcome))
		return;
	payment->payment_method = service_text(scratch, &values[PAYMENT_METHOD]);
	payment->bill_type = service_text(scratch, &values[BILL_TYPE]);
	payment->due_date = service_text(scratch, &values[DUE_DATE]);
	payment->currency = service_text(scratch, &values[CURRENCY]);
	if (payment->currency.length == 0)
		payment->currency = (struct span){ "USD", 3 };
	payment->fees_cents = amount_fees(payment->amount_cents);
	make_ids(payment, message);
	service_answer(outcome, 200, "");
}

static void
payment_bind(
    const struct service_context *context, const struct message *message, sqlite3_stmt *insert)
{
	const struct payment *payment = context->row;

	(void)message;
	service_bind_text(insert, 5, payment->customer_id);
	sqlite3_bind_text(insert, 8, payment->transaction_id, -1, SQLITE_STATIC);
	sqlite3_bind_text(insert, 9, payment->confirmation_number, -1, SQLITE_STATIC);
	sqlite3_bind_int64(insert, 10, payment->amount_cents);
	service_bind_text(insert, 11, payment->currency);
	service_bind_text(insert, 12, payment->payment_method);
	service_bind_text(insert, 13, payment->bill_type);
	service_bind_text(insert, 14, payment->due_date);
	sqlite3_bind_int64(insert, 15, payment->fees_cents);
	sqlite3_bind_int64(insert, 16, payment->amount_cents - payment->fees_cents);
}

static void
print_cents(FILE *out, const char *name, int64_t cents)
{
	fprintf(out, ",\"%s_cents\":%" PRId64, name, cents);
}

static void
payment_print(const struct service_context *context, const struct message *message, FILE *out)
{
	const struct payment *payment = context->row;

	(void)message;
	service_print_text(out, "transaction_id",
	    (struct span){ payment->transaction_id, strlen(payment->transaction_id) });
	service_print_text(out, "confirmation_number",
	    (struct span){ payment->confirmation_number, strlen(payment->confirmation_number) });
	service_print_text(out, "customer_id", payment->customer_id);
	print_cents(out, "amount", payment->amount_cents);
	service_print_text(out, "currency", payment->currency);
	service_print_text(out, "payment_method", payment->payment_method);
	service_print_text(out, "bill_type", payment->bill_type);
	service_print_text(out, "due_date", payment->due_date);
	print_cents(out, "fees", payment->fees_cents);
	print_cents(out, "net_amount", payment->amount_cents - payment->fees_cents);
	service_print_text(out, "payment_status", (struct span){ "completed", 9 });
}

const struct service service_payment = {
	.program = "headgate-payment",
	.queue = "payment-processing",
	.name = "payments",
	.table = "CREATE TABLE IF NOT EXISTS payments ("
		 "log INTEGER NOT NULL, sequence INTEGER NOT NULL, lane INTEGER NOT NULL, "
		 "message_id TEXT NOT NULL, customer_id TEXT NOT NULL, processed_at TEXT NOT NULL, "
		 "processing_ms REAL NOT NULL, transaction_id TEXT NOT NULL, "
		 "confirmation_number TEXT NOT NULL, amount_cents INTEGER NOT NULL, "
		 "currency TEXT NOT NULL, payment_method TEXT NOT NULL, bill_type TEXT, "
		 "due_date TEXT, fees_cents INTEGER NOT NULL, net_amount_cents INTEGER NOT NULL, "
		 "status TEXT NOT NULL, UNIQUE (log, sequence))",
	.insert =
	    "INSERT INTO payments (log, sequence, lane, message_id, customer_id, processed_at, "
	    "processing_ms, transaction_id, confirmation_number, amount_cents, currency, "
	    "payment_method, bill_type, due_date, fees_cents, net_amount_cents, status) "
	    "VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,'completed')",
	.row_bytes = sizeof(struct payment),
	.handle = payment_handle,
	.bind = payment_bind,
	.print = payment_print,
	.begin = payment_begin,
};
