/*
 * The business rules of the two services: statuses and stored rows.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "workers/service.h"

enum { TEXT_BYTES = 1 << 16, MUTATIONS = 20000 };

static struct config_queue queue;
static const struct service *service;
static struct service_context context = { .config = &queue, .now = "2026-11-20T10:00:00.000Z" };
static struct message message;
static struct outcome outcome;
static char *text; /* body, in an allocation of its exact length for ASan */
static sqlite3 *db;
static sqlite3_stmt *insert;

static void
use(const struct service *which)
{
	char *more;

	service = which;
	if (context.reader == NULL)
		context.reader = json_reader_new(TEXT_BYTES);
	free(context.row);
	context.row = calloc(1, service->row_bytes);
	sqlite3_finalize(insert);
	sqlite3_close(db);
	cr_assert(sqlite3_open(":memory:", &db) == SQLITE_OK, "open");
	cr_assert(sqlite3_exec(db, service->table, NULL, NULL, NULL) == SQLITE_OK, "table");
	/* A column that somebody added: the insert has to name its own. */
	more = sqlite3_mprintf("ALTER TABLE %s ADD COLUMN more TEXT", service->name);
	cr_assert(sqlite3_exec(db, more, NULL, NULL, NULL) == SQLITE_OK, "column");
	sqlite3_free(more);
	cr_assert(
	    sqlite3_prepare_v2(db, service->insert, -1, &insert, NULL) == SQLITE_OK, "insert");
}

static int
handle_bytes(const char *bytes, size_t length)
{
	free(text);
	text = calloc(1, length + JSON_PADDING);
	memcpy(text, bytes, length);
	message.log = 77;
	message.sequence++;
	message.envelope.body = (struct span){ text, length };
	memset(&outcome, 0xff, sizeof(outcome));
	service->handle(&context, &message, &outcome);
	cr_assert(memchr(outcome.reason, '\0', sizeof(outcome.reason)) != NULL, "endless reason");
	return outcome.status;
}

static int
handle(const char *json)
{
	return handle_bytes(json, strlen(json));
}

/* Stores the row of the last handled message. */
static void
store(void)
{
	sqlite3_bind_int64(insert, 1, (int64_t)message.log);
	sqlite3_bind_int64(insert, 2, (int64_t)message.sequence);
	sqlite3_bind_int(insert, 3, 0);
	sqlite3_bind_text(insert, 4, "m", -1, SQLITE_STATIC);
	sqlite3_bind_text(insert, 6, context.now, -1, SQLITE_STATIC);
	sqlite3_bind_double(insert, 7, 0.1);
	service->bind(&context, &message, insert);
	cr_assert(sqlite3_step(insert) == SQLITE_DONE, "%s", sqlite3_errmsg(db));
	sqlite3_reset(insert);
}

/* A column of the last stored row; "-" for NULL. */
static const char *
column(const char *name)
{
	static char value[4][256];
	static int turn;
	char *at = value[turn++ % 4], *sql;
	sqlite3_stmt *select;

	sql = sqlite3_mprintf("SELECT %s FROM %s ORDER BY rowid DESC LIMIT 1", name, service->name);
	cr_assert(sqlite3_prepare_v2(db, sql, -1, &select, NULL) == SQLITE_OK, "%s", sql);
	cr_assert(sqlite3_step(select) == SQLITE_ROW, "%s: no row", sql);
	snprintf(at, sizeof(value[0]), "%s",
	    sqlite3_column_type(select, 0) == SQLITE_NULL
		? "-"
		: (const char *)sqlite3_column_text(select, 0));
	sqlite3_finalize(select);
	sqlite3_free(sql);
	return at;
}

static void
expect(const char *name, const char *value)
{
	cr_assert(
	    strcmp(column(name), value) == 0, "%s: %s instead of %s", name, column(name), value);
}

/* The output of --invoke. */
static char *
printed(void)
{
	static char *out;
	size_t length;
	FILE *file;

	free(out);
	file = open_memstream(&out, &length);
	service->print(&context, &message, file);
	fclose(file);
	return out;
}

struct rule {
	const char *json, *reason; /* NULL: any */
	int status;
};

static void
check_rules(const struct rule *rules, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int status = handle(rules[i].json);

		cr_assert(
		    status == rules[i].status, "%s: %d %s", rules[i].json, status, outcome.reason);
		cr_assert(rules[i].reason == NULL || strcmp(outcome.reason, rules[i].reason) == 0,
		    "%s: %s instead of %s", rules[i].json, outcome.reason, rules[i].reason);
		if (status == 200)
			store();
	}
}

/* Replaces exactly one field of a good message. */
#define PAY(member)   "{\"customer_id\":\"C\",\"payment_method\":\"card\"," member "}"
#define AMOUNT(value) PAY("\"amount\":" value)
#define PAID(member)  "{\"customer_id\":\"C\",\"amount\":5,\"payment_method\":\"card\"," member "}"
#define BANK(customer, routing, account)                                                           \
	"{\"customer_id\":" customer ",\"routing_number\":" routing ",\"account_number\":" account \
	"}"
#define TYPED(type)                                                                                \
	"{\"customer_id\":\"C\",\"routing_number\":\"123456789\",\"account_number\":\"12345678\"," \
	"\"account_type\":" type "}"
#define MISSING(field) "Missing required field: " field

/*
 * Payments.
 */

static void
setup_payment(void)
{
	use(&service_payment);
}

TestSuite(payment, .init = setup_payment, .timeout = 600);

Test(payment, its_row_and_its_result)
{
	cr_assert(
	    handle("{\"customer_id\":\"CUST-1\",\"amount\":150.75,\"payment_method\":\"card\","
		   "\"bill_type\":\"water\",\"due_date\":\"2026-12-01\"}") == 200,
	    "%s", outcome.reason);
	store();
	expect("customer_id", "CUST-1");
	expect("amount_cents", "15075");
	expect("fees_cents", "377");
	expect("net_amount_cents", "14698");
	expect("currency", "USD");
	expect("payment_method", "card");
	expect("bill_type", "water");
	expect("due_date", "2026-12-01");
	expect("status", "completed");
	cr_assert(
	    strncmp(column("transaction_id"), "TXN-", 4) == 0, "%s", column("transaction_id"));
	cr_assert(strncmp(column("confirmation_number"), "CONF-", 5) == 0, "its confirmation");
	cr_assert(strstr(printed(), "\"fees_cents\":377,\"net_amount_cents\":14698") != NULL, "%s",
	    printed());
	cr_assert(strstr(printed(), "\"payment_status\":\"completed\"") != NULL, "%s", printed());
}

Test(payment, ids_are_written_as_printf_writes_them)
{
	static const uint64_t values[] = { 0, 9, 10, 4711, 0xfedcba9876543210, UINT64_MAX };
	char wanted[64], got[64], *end;

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		snprintf(wanted, sizeof(wanted), "%016" PRIX64 "-%" PRIu64, values[i], values[i]);
		end = service_put_hex(got, values[i]);
		end = service_put_decimal(stpcpy(end, "-"), values[i]);
		cr_assert(strcmp(got, wanted) == 0 && *end == '\0', "%s: %s", wanted, got);
	}
}

Test(payment, the_ids_are_the_same_for_the_same_message_only)
{
	char first[64];

	cr_assert(handle(AMOUNT("5")) == 200, "good");
	store();
	snprintf(first, sizeof(first), "%s", column("transaction_id"));
	cr_assert(handle(AMOUNT("5")) == 200, "good");
	store();
	cr_assert(strcmp(column("transaction_id"), first) != 0, "two messages, one id: %s", first);
	message.sequence -= 2;
	cr_assert(handle(AMOUNT("5")) == 200, "good");
	sqlite3_exec(db, "DELETE FROM payments", NULL, NULL, NULL);
	store();
	cr_assert(strcmp(column("transaction_id"), first) == 0, "one message, two ids: %s", first);
}

Test(payment, required_fields)
{
	static const struct rule rules[] = {
		{ "{}", MISSING("customer_id"), 400 },
		{ "{\"amount\":5,\"payment_method\":\"card\"}", MISSING("customer_id"), 400 },
		{ "{\"customer_id\":\"\",\"amount\":5,\"payment_method\":\"card\"}",
		    MISSING("customer_id"), 400 },
		{ "{\"customer_id\":null,\"amount\":5,\"payment_method\":\"card\"}",
		    MISSING("customer_id"), 400 },
		{ "{\"customer_id\":5,\"amount\":5,\"payment_method\":\"card\"}", NULL, 400 },
		{ "{\"customer_id\":{},\"amount\":5,\"payment_method\":\"card\"}", NULL, 400 },
		{ "{\"customer_id\":[\"C\"],\"amount\":5,\"payment_method\":\"card\"}", NULL, 400 },
		{ "{\"customer_id\":true,\"amount\":5,\"payment_method\":\"card\"}", NULL, 400 },
		{ "{\"customer_id\":\"C\",\"amount\":5}", MISSING("payment_method"), 400 },
		{ "{\"customer_id\":\"C\",\"amount\":5,\"payment_method\":\"\"}",
		    MISSING("payment_method"), 400 },
		{ "{\"customer_id\":\"C\",\"amount\":5,\"payment_method\":null}",
		    MISSING("payment_method"), 400 },
		{ "{\"customer_id\":\"C\",\"amount\":5,\"payment_method\":1}", NULL, 400 },
		{ "{\"customer_id\":\"C\",\"amount\":5,\"payment_method\":[]}", NULL, 400 },
		{ "{\"customer_id\":\"C\",\"amount\":5,\"payment_method\":\"seashells\"}", "",
		    200 },
		{ "{\"customer_id\":\" \",\"amount\":5,\"payment_method\":\" \"}", "", 200 },
		{ "{\"customer_id\":\"\\u0000\",\"amount\":5,\"payment_method\":\"\\\"\"}", "",
		    200 },
	};

	check_rules(rules, sizeof(rules) / sizeof(rules[0]));
}

Test(payment, an_amount_that_is_missing)
{
	static const struct rule rules[] = {
		{ "{\"customer_id\":\"C\",\"payment_method\":\"card\"}", MISSING("amount"), 400 },
		{ AMOUNT("null"), MISSING("amount"), 400 },
		{ AMOUNT("\"\""), MISSING("amount"), 400 },
		/* Checked before payment_method. */
		{ "{\"customer_id\":\"C\"}", MISSING("amount"), 400 },
	};

	check_rules(rules, sizeof(rules) / sizeof(rules[0]));
}

Test(payment, an_amount_that_is_none)
{
	static const char *const amounts[] = { "0", "0.00", "-0", "0e9", "{}", "{ \n\t}", "true",
		"false", "[]", "[5]", "{\"a\":5}", "-1", "-0.01", "0.001", "1.005", "150.755",
		"10000000000000", "10000000000000.00", "1e13", "1e400",
		"123456789012345678901234567890", "1e-400", "\"0\"", "\"0.00\"", "\"abc\"", "\" \"",
		"\" 5\"", "\"5 \"", "\"+5\"", "\"5.\"", "\".5\"", "\"05\"", "\"0x10\"", "\"1e\"",
		"\"NaN\"", "\"Infinity\"", "\"-5\"", "\"5,00\"", "\"$5\"", "\"1_000\"",
		"\"5\\u0000\"", "\"\xef\xbc\x95\"", "\"1e999999999999999999999\"",
		"\"1e-999999999999999999999\"" };
	char json[256];

	for (size_t i = 0; i < sizeof(amounts) / sizeof(amounts[0]); i++) {
		snprintf(json, sizeof(json), AMOUNT("%s"), amounts[i]);
		cr_assert(handle(json) == 400, "%s: %d", json, outcome.status);
		cr_assert(strcmp(outcome.reason, "Invalid amount format") == 0, "%s: %s", json,
		    outcome.reason);
	}
}

Test(payment, amounts_fees_and_what_is_left)
{
	static const struct {
		const char *json, *cents, *fees, *net;
	} amounts[] = {
		{ "0.01", "1", "0", "1" },
		{ "5", "500", "0", "500" },
		{ "\"5\"", "500", "0", "500" },
		{ "\"5.5\"", "550", "0", "550" },
		{ "\"\\u0035\"", "500", "0", "500" },
		{ "5.000", "500", "0", "500" },
		{ "100", "10000", "0", "10000" },
		{ "100.00", "10000", "0", "10000" },
		{ "1e2", "10000", "0", "10000" },
		{ "100.01", "10001", "250", "9751" },
		{ "100.19", "10019", "250", "9769" }, /* 250.475 */
		{ "100.20", "10020", "251", "9769" }, /* 250.5: half goes up */
		{ "100.60", "10060", "252", "9808" }, /* 251.5 */
		{ "150.75", "15075", "377", "14698" },
		{ "\"150.75\"", "15075", "377", "14698" },
		{ "1507.5e-1", "15075", "377", "14698" },
		{ "9999999999999.99", "999999999999999", "25000000000000", "974999999999999" },
	};
	char json[256];

	for (size_t i = 0; i < sizeof(amounts) / sizeof(amounts[0]); i++) {
		snprintf(json, sizeof(json), AMOUNT("%s"), amounts[i].json);
		cr_assert(handle(json) == 200, "%s: %s", json, outcome.reason);
		store();
		expect("amount_cents", amounts[i].cents);
		expect("fees_cents", amounts[i].fees);
		expect("net_amount_cents", amounts[i].net);
	}
}

Test(payment, optional_fields)
{
	static const struct rule rules[] = {
		{ PAID("\"currency\":5"), "Invalid currency format", 400 },
		{ PAID("\"currency\":{}"), "Invalid currency format", 400 },
		{ PAID("\"currency\":false"), "Invalid currency format", 400 },
		{ PAID("\"due_date\":{}"), "Invalid due_date format", 400 },
		{ PAID("\"due_date\":20261201"), "Invalid due_date format", 400 },
		{ PAID("\"bill_type\":[]"), "Invalid bill_type format", 400 },
		{ PAID("\"bill_type\":[\"water\"]"), "Invalid bill_type format", 400 },
		{ PAID("\"bill_type\":null,\"due_date\":null,\"currency\":null"), "", 200 },
		{ PAID("\"something\":[{}]"), "", 200 },
		/* Required fields come first. */
		{ "{\"amount\":5,\"payment_method\":\"card\",\"currency\":5}",
		    MISSING("customer_id"), 400 },
		{ "{\"customer_id\":\"C\",\"amount\":\"x\",\"payment_method\":\"card\","
		  "\"currency\":5}",
		    "Invalid amount format", 400 },
	};

	check_rules(rules, sizeof(rules) / sizeof(rules[0]));
	cr_assert(
	    handle(PAID("\"bill_type\":null,\"due_date\":null,\"currency\":null")) == 200, "null");
	store();
	expect("currency", "USD");
	expect("bill_type", "-");
	expect("due_date", "-");
	cr_assert(handle(PAID("\"currency\":\"EUR\",\"bill_type\":\"caf\\u00e9\"")) == 200, "text");
	store();
	expect("currency", "EUR");
	expect("bill_type", "caf\xc3\xa9");
}

Test(payment, every_field_may_have_escapes)
{
	cr_assert(handle("{\"customer_id\":\"\\u0041\",\"amount\":\"\\u0035.25\","
			 "\"payment_method\":\"\\u0042\\\\\",\"bill_type\":\"\\n\","
			 "\"due_date\":\"\\\"\",\"curr\\u0065ncy\":\"\\u20ac\"}") == 200,
	    "%s", outcome.reason);
	store();
	expect("customer_id", "A");
	expect("amount_cents", "525");
	expect("payment_method", "B\\");
	expect("bill_type", "\n");
	expect("due_date", "\"");
	expect("currency", "\xe2\x82\xac");
}

Test(payment, fault_markers)
{
	static const struct rule rules[] = {
		{ "{\"customer_id\":\"ERROR400\",\"amount\":5,\"payment_method\":\"card\"}",
		    "Insufficient funds in account", 400 },
		{ "{\"customer_id\":\"x-eRrOr400-y\",\"amount\":5,\"payment_method\":\"card\"}",
		    "Insufficient funds in account", 400 },
		{ "{\"customer_id\":\"CUST-ERROR500\",\"amount\":5,\"payment_method\":\"card\"}",
		    "Payment gateway temporarily unavailable", 500 },
		{ "{\"customer_id\":\"error500\",\"amount\":5,\"payment_method\":\"card\"}",
		    "Payment gateway temporarily unavailable", 500 },
		{ "{\"customer_id\":\"\\u0045RROR500\",\"amount\":5,\"payment_method\":\"card\"}",
		    "Payment gateway temporarily unavailable", 500 },
		{ "{\"customer_id\":\"ERROR500ERROR400\",\"amount\":5,\"payment_method\":\"card\"}",
		    "Insufficient funds in account", 400 },
		{ "{\"customer_id\":\"ERROR50\",\"amount\":5,\"payment_method\":\"ERROR500\"}", "",
		    200 },
		/* Faults of the message come before fault markers. */
		{ "{\"customer_id\":\"ERROR500\",\"payment_method\":\"card\"}", MISSING("amount"),
		    400 },
		{ "{\"customer_id\":\"ERROR500\",\"amount\":-5,\"payment_method\":\"card\"}",
		    "Invalid amount format", 400 },
		{ "{\"customer_id\":\"ERROR500\",\"amount\":5}", MISSING("payment_method"), 400 },
		{ "{\"customer_id\":\"ERROR500\",\"amount\":5,\"payment_method\":\"card\","
		  "\"currency\":5}",
		    "Invalid currency format", 400 },
	};

	cr_assert(handle(rules[0].json) == 200 && handle(rules[2].json) == 200, "they are off");
	queue.fault_markers = true;
	check_rules(rules, sizeof(rules) / sizeof(rules[0]));
}

/*
 * Bank accounts.
 */

static void
setup_bank_account(void)
{
	use(&service_bank_account);
}

TestSuite(bank_account, .init = setup_bank_account, .timeout = 600);

Test(bank_account, its_row_and_its_result)
{
	cr_assert(handle(BANK("\"CUST-1\"", "\"123456789\"", "\"9876543210\"")) == 200, "%s",
	    outcome.reason);
	store();
	expect("customer_id", "CUST-1");
	expect("routing_number", "123456789");
	expect("account_number_masked", "****3210");
	expect("bank_name", "Bank of 123");
	expect("account_type", "checking");
	expect("status", "validated");
	cr_assert(strncmp(column("validation_id"), "VAL-", 4) == 0, "%s", column("validation_id"));
	cr_assert(
	    strstr(printed(), "\"account_number_masked\":\"****3210\"") != NULL, "%s", printed());
	cr_assert(strstr(printed(), "\"account_status\":\"validated\"") != NULL, "%s", printed());
}

Test(bank_account, of_an_account_number_four_digits_are_left)
{
	static const char *const masked[][2] = { { "1", "****1" }, { "12", "****12" },
		{ "123", "****123" }, { "1234", "****1234" }, { "12345", "****2345" },
		{ "12345678901234567", "****4567" } };
	char json[256], number[32];

	for (size_t i = 0; i < sizeof(masked) / sizeof(masked[0]); i++) {
		snprintf(number, sizeof(number), "\"%s\"", masked[i][0]);
		snprintf(json, sizeof(json), BANK("\"C\"", "\"999999999\"", "%s"), number);
		cr_assert(handle(json) == 200, "%s: %s", json, outcome.reason);
		store();
		expect("account_number_masked", masked[i][1]);
		cr_assert(strlen(masked[i][0]) < 5 || strstr(printed(), masked[i][0]) == NULL, "%s",
		    printed());
		cr_assert(strlen(masked[i][0]) < 5 ||
			strstr(column("customer_id || routing_number || account_number_masked || "
				      "bank_name || account_type || validation_id"),
			    masked[i][0]) == NULL,
		    "the number itself is stored");
	}
}

Test(bank_account, required_fields)
{
	static const struct rule rules[] = {
		{ "{}", MISSING("customer_id"), 400 },
		{ "{\"customer_id\":\"C\"}", MISSING("routing_number"), 400 },
		{ "{\"customer_id\":\"C\",\"routing_number\":\"123456789\"}",
		    MISSING("account_number"), 400 },
		{ BANK("\"\"", "\"123456789\"", "\"1\""), MISSING("customer_id"), 400 },
		{ BANK("null", "\"123456789\"", "\"1\""), MISSING("customer_id"), 400 },
		{ BANK("5", "\"123456789\"", "\"1\""), NULL, 400 },
		{ BANK("\"C\"", "\"\"", "\"1\""), MISSING("routing_number"), 400 },
		{ BANK("\"C\"", "null", "\"1\""), MISSING("routing_number"), 400 },
		{ BANK("\"C\"", "123456789", "\"1\""), NULL, 400 },
		{ BANK("\"C\"", "[\"123456789\"]", "\"1\""), NULL, 400 },
		{ BANK("\"C\"", "\"123456789\"", "\"\""), MISSING("account_number"), 400 },
		{ BANK("\"C\"", "\"123456789\"", "null"), MISSING("account_number"), 400 },
		{ BANK("\"C\"", "\"123456789\"", "12345678"), NULL, 400 },
		{ BANK("\"C\"", "\"123456789\"", "{}"), NULL, 400 },
		{ BANK("\"C\"", "\"123456789\"", "true"), NULL, 400 },
		/* Missing fields are reported before invalid ones. */
		{ BANK("\"C\"", "\"x\"", "\"\""), MISSING("account_number"), 400 },
	};

	check_rules(rules, sizeof(rules) / sizeof(rules[0]));
}

Test(bank_account, routing_and_account_numbers)
{
	static const struct rule rules[] = {
		{ BANK("\"C\"", "\"123456789\"", "\"0\""), "", 200 },
		{ BANK("\"C\"", "\"000000000\"", "\"00000000000000000\""), "", 200 },
		{ BANK("\"C\"", "\"\\u0031\\u003234\\u00356789\"", "\"\\u0031\""), "", 200 },
		{ BANK("\"C\"", "\"12345678\"", "\"1\""), "Invalid routing number format", 400 },
		{ BANK("\"C\"", "\"1234567890\"", "\"1\""), "Invalid routing number format", 400 },
		{ BANK("\"C\"", "\"12345678a\"", "\"1\""), "Invalid routing number format", 400 },
		{ BANK("\"C\"", "\"12345678:\"", "\"1\""), "Invalid routing number format", 400 },
		{ BANK("\"C\"", "\"/12345678\"", "\"1\""), "Invalid routing number format", 400 },
		{ BANK("\"C\"", "\"12345678 \"", "\"1\""), "Invalid routing number format", 400 },
		{ BANK("\"C\"", "\" 123456789\"", "\"1\""), "Invalid routing number format", 400 },
		{ BANK("\"C\"", "\"123456789\\u0000\"", "\"1\""), "Invalid routing number format",
		    400 },
		{ BANK("\"C\"", "\"-12345678\"", "\"1\""), "Invalid routing number format", 400 },
		{ BANK("\"C\"",
		      "\"\xd9\xa1\xd9\xa2\xd9\xa3\xd9\xa4"
		      "5\"",
		      "\"1\""),
		    "Invalid routing number format", 400 }, /* nine bytes, digits elsewhere */
		{ BANK("\"C\"", "\"123456789\"", "\"123456789012345678\""),
		    "Invalid account number format", 400 },
		{ BANK("\"C\"", "\"123456789\"", "\"12-34\""), "Invalid account number format",
		    400 },
		{ BANK("\"C\"", "\"123456789\"", "\" \""), "Invalid account number format", 400 },
		{ BANK("\"C\"", "\"123456789\"", "\"1\\u0000\""), "Invalid account number format",
		    400 },
		{ BANK("\"C\"", "\"123456789\"", "\"\xef\xbc\x91\""),
		    "Invalid account number format", 400 },
	};

	check_rules(rules, sizeof(rules) / sizeof(rules[0]));
}

Test(bank_account, the_aba_checksum_is_looked_at_where_the_configuration_says_so)
{
	static const struct rule rules[] = {
		{ BANK("\"C\"", "\"011000015\"", "\"1\""), "", 200 },
		{ BANK("\"C\"", "\"122105155\"", "\"1\""), "", 200 },
		{ BANK("\"C\"", "\"011000016\"", "\"1\""), "Invalid routing number format", 400 },
		{ BANK("\"C\"", "\"123456789\"", "\"1\""), "Invalid routing number format", 400 },
		{ BANK("\"C\"", "\"101000015\"", "\"1\""), "Invalid routing number format", 400 },
	};

	cr_assert(handle(rules[2].json) == 200, "off: %s", outcome.reason);
	queue.routing_check_aba = true;
	check_rules(rules, sizeof(rules) / sizeof(rules[0]));
}

Test(bank_account, account_type)
{
	static const struct rule rules[] = {
		{ TYPED("7"), "Invalid account_type format", 400 },
		{ TYPED("{}"), "Invalid account_type format", 400 },
		{ TYPED("[\"savings\"]"), "Invalid account_type format", 400 },
		{ TYPED("true"), "Invalid account_type format", 400 },
		{ TYPED("null"), "", 200 },
	};

	check_rules(rules, sizeof(rules) / sizeof(rules[0]));
	expect("account_type", "checking");
	cr_assert(handle(TYPED("\"anything at all\"")) == 200, "any string");
	store();
	expect("account_type", "anything at all");
}

Test(bank_account, fault_markers)
{
	static const struct rule rules[] = {
		{ BANK("\"CUST-ERROR400\"", "\"123456789\"", "\"1\""),
		    "Invalid account number format", 400 },
		{ BANK("\"error500\"", "\"123456789\"", "\"1\""),
		    "Bank validation service temporarily unavailable", 500 },
		{ BANK("\"ERROR500-ERROR400\"", "\"123456789\"", "\"1\""),
		    "Invalid account number format", 400 },
		{ BANK("\"C\"", "\"123456789\"", "\"1\""), "", 200 },
		{ BANK("\"ERROR500\"", "\"12345678\"", "\"1\""), "Invalid routing number format",
		    400 },
		{ BANK("\"ERROR500\"", "\"123456789\"", "\"\""), MISSING("account_number"), 400 },
		{ "{\"customer_id\":\"ERROR500\",\"routing_number\":\"123456789\","
		  "\"account_number\":\"1\",\"account_type\":7}",
		    "Invalid account_type format", 400 },
	};

	cr_assert(handle(rules[0].json) == 200 && handle(rules[1].json) == 200, "they are off");
	queue.fault_markers = true;
	check_rules(rules, sizeof(rules) / sizeof(rules[0]));
}

/*
 * Both.
 */

/* Each field of each service with each JSON type: a present field is never reported as missing, and
 * a wrong type never accepted. */
enum verdict { TAKEN, IS_MISSING, IS_INVALID };

static const struct {
	const char *json; /* NULL: the field is absent */
	enum verdict required, optional, amount;
} values[] = {
	{ NULL, IS_MISSING, TAKEN, IS_MISSING },
	{ "null", IS_MISSING, TAKEN, IS_MISSING },
	{ "\"\"", IS_MISSING, TAKEN, IS_MISSING },
	{ "0", IS_INVALID, IS_INVALID, IS_INVALID },
	{ "-0.0", IS_INVALID, IS_INVALID, IS_INVALID },
	{ "5", IS_INVALID, IS_INVALID, TAKEN },
	{ "123456789", IS_INVALID, IS_INVALID, TAKEN },
	{ "true", IS_INVALID, IS_INVALID, IS_INVALID },
	{ "false", IS_INVALID, IS_INVALID, IS_INVALID },
	{ "[]", IS_INVALID, IS_INVALID, IS_INVALID },
	{ "[\"123456789\"]", IS_INVALID, IS_INVALID, IS_INVALID },
	{ "{}", IS_INVALID, IS_INVALID, IS_INVALID },
	{ "{\"a\":1}", IS_INVALID, IS_INVALID, IS_INVALID },
};

static const struct {
	const struct service *service;
	const char *others, *name, *invalid;
	bool optional;
} fields[] = {
	{ &service_payment, "\"amount\":5,\"payment_method\":\"card\"", "customer_id",
	    "Invalid customer_id format", false },
	{ &service_payment, "\"customer_id\":\"C\",\"payment_method\":\"card\"", "amount",
	    "Invalid amount format", false },
	{ &service_payment, "\"customer_id\":\"C\",\"amount\":5", "payment_method",
	    "Invalid payment_method format", false },
	{ &service_payment, "\"customer_id\":\"C\",\"amount\":5,\"payment_method\":\"card\"",
	    "bill_type", "Invalid bill_type format", true },
	{ &service_payment, "\"customer_id\":\"C\",\"amount\":5,\"payment_method\":\"card\"",
	    "due_date", "Invalid due_date format", true },
	{ &service_payment, "\"customer_id\":\"C\",\"amount\":5,\"payment_method\":\"card\"",
	    "currency", "Invalid currency format", true },
	{ &service_bank_account, "\"routing_number\":\"123456789\",\"account_number\":\"1\"",
	    "customer_id", "Invalid customer_id format", false },
	{ &service_bank_account, "\"customer_id\":\"C\",\"account_number\":\"1\"", "routing_number",
	    "Invalid routing number format", false },
	{ &service_bank_account, "\"customer_id\":\"C\",\"routing_number\":\"123456789\"",
	    "account_number", "Invalid account number format", false },
	{ &service_bank_account,
	    "\"customer_id\":\"C\",\"routing_number\":\"123456789\",\"account_number\":\"1\"",
	    "account_type", "Invalid account_type format", true },
};

static void
check_value(size_t f, size_t v)
{
	enum verdict verdict = fields[f].optional   ? values[v].optional
	    : strcmp(fields[f].name, "amount") == 0 ? values[v].amount
						    : values[v].required;
	char json[256], missing[64];
	int status;

	if (values[v].json != NULL)
		snprintf(json, sizeof(json), "{%s,\"%s\":%s}", fields[f].others, fields[f].name,
		    values[v].json);
	else
		snprintf(json, sizeof(json), "{%s}", fields[f].others);
	snprintf(missing, sizeof(missing), "Missing required field: %s", fields[f].name);
	status = handle(json);
	cr_assert(
	    status == (verdict == TAKEN ? 200 : 400), "%s: %d %s", json, status, outcome.reason);
	cr_assert(verdict == TAKEN ||
		strcmp(outcome.reason, verdict == IS_MISSING ? missing : fields[f].invalid) == 0,
	    "%s: %s", json, outcome.reason);
}

Test(services, each_field_with_each_type)
{
	for (size_t f = 0; f < sizeof(fields) / sizeof(fields[0]); f++) {
		use(fields[f].service);
		for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++)
			check_value(f, v);
	}
}

Test(services, what_is_no_object_is_the_clients_fault)
{
	static const char *const texts[] = { "", " ", "{", "}", "null", "5", "\"x\"", "[]", "[{}]",
		"{\"customer_id\":\"C\"", "{\"customer_id\":\"C\",}", "{} {}", "{\"a\":1,\"a\":2}",
		"{\"customer_id\":\"C\",\"customer_id\":\"D\"}", "{\"customer_id\":\"\xff\"}",
		"{\"customer_id\":\"\\ud800\"}", "\xef\xbb\xbf{}", "{'customer_id':'C'}",
		"{\"a\":NaN}", "{\"a\":\"\n\"}", "{\"a\":01}" };
	const struct service *const both[] = { &service_payment, &service_bank_account };
	char deep[2048];

	for (int which = 0; which < 2; which++) {
		use(both[which]);
		for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
			cr_assert(handle(texts[i]) == 400 && outcome.reason[0] != '\0', "%s: %d",
			    texts[i], outcome.status);
		memset(deep, '[', sizeof(deep));
		memcpy(deep, "{\"a\":", 5);
		cr_assert(handle_bytes(deep, sizeof(deep)) == 400, "%d", outcome.status);
	}
}

static size_t
mutate(char *bytes, size_t length, unsigned *seed)
{
	for (int changes = rand_r(seed) % 4; changes >= 0 && length > 0; changes--) {
		size_t at = (size_t)rand_r(seed) % length, count;

		switch (rand_r(seed) % 5) {
		case 0:
			bytes[at] = (char)(bytes[at] ^ 1 << rand_r(seed) % 8);
			break;
		case 1:
			bytes[at] = (char)rand_r(seed);
			break;
		case 2:
			bytes[at] = "{}[]\",:0123456789eE+-.\\u ntf"[rand_r(seed) % 28];
			break;
		case 3: /* a piece is gone */
			count = (size_t)rand_r(seed) % (length - at) % 8 + 1;
			memmove(bytes + at, bytes + at + count, length - at - count);
			length -= count;
			break;
		default:
			if (rand_r(seed) % 4 == 0)
				length = at;
		}
	}
	return length;
}

static void
check_mutations(const struct service *which, const char *good)
{
	const char *given = getenv("SERVICES_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)getpid();
	unsigned accepted = 0, refused = 0;

	fprintf(stderr, "# SERVICES_SEED=%u\n", seed);
	use(which);
	cr_assert(handle(good) == 200, "%s", outcome.reason);
	for (int i = 0; i < MUTATIONS; i++) {
		char bytes[1024];
		size_t length = strlen(good);
		int status;

		memcpy(bytes, good, length);
		length = mutate(bytes, length, &seed);
		status = handle_bytes(bytes, length);
		cr_assert((status >= 200 && status < 300) || (status >= 400 && status < 500),
		    "%.*s: %d %s", (int)length, bytes, status, outcome.reason);
		if (status < 300) {
			store();
			printed();
			accepted++;
		} else {
			refused++;
		}
	}
	cr_assert(accepted > MUTATIONS / 100 && refused > MUTATIONS / 100, "%u good, %u refused",
	    accepted, refused);
}

Test(services, mutations_of_a_good_payment_are_taken_or_refused, .timeout = 1200)
{
	check_mutations(&service_payment,
	    "{\"customer_id\":\"CUST-\\u00e9\",\"amount\":150.75,\"payment_method\":\"card\","
	    "\"bill_type\":\"wa\\\\ter\",\"due_date\":\"2026-12-01\",\"currency\":\"USD\","
	    "\"message_id\":\"m\",\"more\":[1,{\"a\":null},true]}");
}

Test(services, mutations_of_a_good_bank_account_are_taken_or_refused, .timeout = 1200)
{
	check_mutations(&service_bank_account,
	    "{\"customer_id\":\"CUST-\\u00e9\",\"routing_number\":\"123456789\","
	    "\"account_number\":\"\\u00312345678\",\"account_type\":\"savings\","
	    "\"message_id\":\"m\",\"more\":[1,{\"a\":null},true]}");
}
