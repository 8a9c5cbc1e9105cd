/*
 * The project's one C++ file: json.h over simdjson's On-Demand parser.
 *
 * On-Demand validates only values that are read, so this file reads every value:
 * (1) strings are unescaped, which finds bad escapes and lone surrogates;
 * (2) numbers and literals are checked against the grammar by their text, because a conversion
 *     would refuse or round good JSON.
 * The parser's first stage checks UTF-8 and control characters over the whole text.
 */
#include "message/json.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>

#include <simdjson.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace ondemand = simdjson::ondemand;

namespace
{

constexpr size_t FEW_NAMES = 16; /* up to here a linear search; above, a hash table */

/* The member names of the top-level object, to find a duplicate. */
struct names {
	struct entry {
		uint64_t hash;
		std::string_view name;
	};
	entry *entries;
	size_t count, capacity;
	uint32_t *slots; /* index + 1 of an entry; 0: free */
	size_t slot_count;
};

bool
grow(names &set)
{
	size_t capacity = set.capacity ? 2 * set.capacity : FEW_NAMES;
	void *entries = realloc(static_cast<void *>(set.entries), capacity * sizeof(*set.entries));

	if (entries == nullptr)
		return false;
	set.entries = static_cast<names::entry *>(entries);
	set.capacity = capacity;
	return true;
}

void
put_slot(names &set, size_t index)
{
	size_t slot = set.entries[index].hash & (set.slot_count - 1);

	while (set.slots[slot] != 0)
		slot = (slot + 1) & (set.slot_count - 1);
	set.slots[slot] = static_cast<uint32_t>(index + 1);
}

/* Builds a table of four slots per possible entry, so at most half of the slots are ever used. */
bool
rehash(names &set)
{
	size_t slots = 4 * set.capacity;

	free(set.slots);
	set.slots = static_cast<uint32_t *>(calloc(slots, sizeof(*set.slots)));
	set.slot_count = set.slots ? slots : 0;
	if (set.slots == nullptr)
		return false;
	for (size_t i = 0; i < set.count; i++)
		put_slot(set, i);
	return true;
}

bool
known(const names &set, uint64_t hash, std::string_view name)
{
	if (set.count <= FEW_NAMES) {
		for (size_t i = 0; i < set.count; i++)
			if (set.entries[i].hash == hash && set.entries[i].name == name)
				return true;
		return false;
	}
	for (size_t slot = hash & (set.slot_count - 1); set.slots[slot] != 0;
	     slot = (slot + 1) & (set.slot_count - 1)) {
		const names::entry &entry = set.entries[set.slots[slot] - 1];

		if (entry.hash == hash && entry.name == name)
			return true;
	}
	return false;
}

json_error
add_name(names &set, std::string_view name)
{
	uint64_t hash = XXH3_64bits(name.data(), name.size());

	if (known(set, hash, name))
		return JSON_DUPLICATE_KEY;
	if (set.count == set.capacity && !grow(set))
		return JSON_NO_MEMORY;
	set.entries[set.count++] = { hash, name };
	if (set.count <= FEW_NAMES)
		return JSON_OK;
	if (set.count == FEW_NAMES + 1 || set.count * 2 > set.slot_count)
		return rehash(set) ? JSON_OK : JSON_NO_MEMORY;
	put_slot(set, set.count - 1);
	return JSON_OK;
}

json_error
from_simdjson(simdjson::error_code code)
{
	switch (code) {
	case simdjson::SUCCESS:
		return JSON_OK;
	case simdjson::UTF8_ERROR:
	case simdjson::STRING_ERROR:
		return JSON_ENCODING;
	case simdjson::MEMALLOC:
		return JSON_NO_MEMORY;
	case simdjson::DEPTH_ERROR:
		return JSON_TOO_DEEP;
	case simdjson::TRAILING_CONTENT:
		return JSON_TRAILING;
	default:
		return JSON_SYNTAX;
	}
}

bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* simdjson's raw tokens include the blanks behind them. */
span
trim(std::string_view token)
{
	size_t length = token.size();

	while (length > 0 && is_blank(token[length - 1]))
		length--;
	return { token.data(), length };
}

const char *
skip_digits(const char *at, const char *end)
{
	while (at < end && *at >= '0' && *at <= '9')
		at++;
	return at;
}

/* number = [ "-" ] int [ frac ] [ exp ], RFC 8259 section 6. */
bool
number_valid(span text)
{
	const char *at = text.data, *end = text.data + text.length, *digits;

	if (at < end && *at == '-')
		at++;
	digits = at;
	at = skip_digits(at, end);
	if (at == digits || (*digits == '0' && at - digits > 1))
		return false;
	if (at < end && *at == '.') {
		digits = ++at;
		at = skip_digits(at, end);
		if (at == digits)
			return false;
	}
	if (at < end && (*at == 'e' || *at == 'E')) {
		at++;
		if (at < end && (*at == '+' || *at == '-'))
			at++;
		digits = at;
		at = skip_digits(at, end);
		if (at == digits)
			return false;
	}
	return at == end;
}

bool
equals(span text, const char *literal)
{
	return text.length == strlen(literal) && memcmp(text.data, literal, text.length) == 0;
}

struct walk {
	ondemand::document *document; /* for the current position */
	const char *duplicate;        /* second occurrence of a key */
};

json_error walk_value(walk &, ondemand::value, json_value &, unsigned depth);

json_error
walk_string(ondemand::value value, json_value &out)
{
	span token = trim(value.raw_json_token());
	std::string_view unescaped;
	simdjson::error_code error = value.get_string().get(unescaped);

	if (error != simdjson::SUCCESS || token.length < 2)
		return error != simdjson::SUCCESS ? from_simdjson(error) : JSON_SYNTAX;
	out.type = JSON_STRING;
	out.raw = { token.data + 1, token.length - 2 };
	/* Every escape is longer than its character, so a string with escapes gets shorter. */
	out.escaped = unescaped.size() != out.raw.length;
	return JSON_OK;
}

json_error
walk_array(walk &state, ondemand::value value, unsigned depth)
{
	ondemand::array array;
	json_value item;
	auto error = value.get_array().get(array);

	if (error != simdjson::SUCCESS)
		return from_simdjson(error);
	for (auto element : array) {
		ondemand::value child;
		json_error rc;

		error = element.get(child);
		if (error != simdjson::SUCCESS)
			return from_simdjson(error);
		rc = walk_value(state, child, item, depth + 1);
		if (rc != JSON_OK)
			return rc;
	}
	return JSON_OK;
}

json_error
walk_object(walk &state, ondemand::value value, unsigned depth)
{
	ondemand::object object;
	json_value item;
	auto error = value.get_object().get(object);

	if (error != simdjson::SUCCESS)
		return from_simdjson(error);
	for (auto member : object) {
		ondemand::field field;
		std::string_view name;
		json_error rc;

		error = std::move(member).get(field);
		if (error == simdjson::SUCCESS)
			error = field.unescaped_key().get(name);
		if (error != simdjson::SUCCESS)
			return from_simdjson(error);
		rc = walk_value(state, field.value(), item, depth + 1);
		if (rc != JSON_OK)
			return rc;
	}
	return JSON_OK;
}

/* Walks a container. Its text ends before the next token, less the blanks between. */
json_error
walk_container(walk &state, ondemand::value value, json_value &out, unsigned depth)
{
	const char *start = value.raw_json_token().data();
	const char *next;
	json_error rc;

	if (depth > JSON_DEPTH)
		return JSON_TOO_DEEP;
	rc = out.type == JSON_ARRAY ? walk_array(state, value, depth)
				    : walk_object(state, value, depth);
	if (rc != JSON_OK)
		return rc;
	if (state.document->current_location().get(next) != simdjson::SUCCESS)
		return JSON_SYNTAX;
	out.raw = trim(std::string_view(start, static_cast<size_t>(next - start)));
	return JSON_OK;
}

/* depth: the value's own; 2 for a member of the top-level object. */
json_error
walk_value(walk &state, ondemand::value value, json_value &out, unsigned depth)
{
	ondemand::json_type type;
	auto error = value.type().get(type);

	if (error != simdjson::SUCCESS)
		return from_simdjson(error);
	out.escaped = false;
	switch (type) {
	case ondemand::json_type::string:
		return walk_string(value, out);
	case ondemand::json_type::number:
		out.type = JSON_NUMBER;
		out.raw = trim(value.raw_json_token());
		return number_valid(out.raw) ? JSON_OK : JSON_SYNTAX;
	case ondemand::json_type::boolean:
		out.type = JSON_BOOL;
		out.raw = trim(value.raw_json_token());
		return equals(out.raw, "true") || equals(out.raw, "false") ? JSON_OK : JSON_SYNTAX;
	case ondemand::json_type::null:
		out.type = JSON_NULL;
		out.raw = trim(value.raw_json_token());
		return equals(out.raw, "null") ? JSON_OK : JSON_SYNTAX;
	case ondemand::json_type::array:
		out.type = JSON_ARRAY;
		return walk_container(state, value, out, depth);
	case ondemand::json_type::object:
		out.type = JSON_OBJECT;
		return walk_container(state, value, out, depth);
	}
	return JSON_SYNTAX;
}

/* A name without escapes is returned as a span of the text, which outlives the parser's buffer. */
span
name_of(ondemand::field &field, const char *raw, std::string_view unescaped)
{
	(void)field;
	if (memcmp(raw, unescaped.data(), unescaped.size()) == 0 && raw[unescaped.size()] == '"')
		return { raw, unescaped.size() };
	return { unescaped.data(), unescaped.size() };
}

using callback = int (*)(void *, const json_field *);

json_error
walk_members(walk &state, ondemand::object object, names &set, callback field_cb, void *context)
{
	for (auto member : object) {
		ondemand::field field;
		std::string_view name;
		json_field out;
		const char *raw;
		json_error rc;
		auto error = std::move(member).get(field);

		if (error != simdjson::SUCCESS)
			return from_simdjson(error);
		raw = field.key().raw();
		error = field.unescaped_key().get(name);
		if (error != simdjson::SUCCESS)
			return from_simdjson(error);
		rc = add_name(set, name);
		if (rc == JSON_DUPLICATE_KEY)
			state.duplicate = raw - 1;
		if (rc == JSON_OK)
			rc = walk_value(state, field.value(), out.value, 2);
		if (rc != JSON_OK)
			return rc;
		out.name = name_of(field, raw, name);
		if (field_cb(context, &out) != 0)
			return JSON_STOPPED;
	}
	return JSON_OK;
}

/* The error for a text that does not begin with '{': JSON of another type, or no JSON. */
json_error
other_root(ondemand::document &document)
{
	ondemand::json_type type;
	std::string_view token;
	span text;

	if (document.type().get(type) != simdjson::SUCCESS ||
	    document.raw_json_token().get(token) != simdjson::SUCCESS)
		return JSON_SYNTAX;
	text = trim(token);
	switch (type) {
	case ondemand::json_type::number:
		return number_valid(text) ? JSON_NOT_OBJECT : JSON_SYNTAX;
	case ondemand::json_type::boolean:
	case ondemand::json_type::null:
		return equals(text, "true") || equals(text, "false") || equals(text, "null")
		    ? JSON_NOT_OBJECT
		    : JSON_SYNTAX;
	default:
		return JSON_NOT_OBJECT;
	}
}

/* JSON_TRAILING if more than blanks stand behind the value. */
json_error
require_end(ondemand::document &document)
{
	const char *next;
	auto error = document.current_location().get(next);

	return error == simdjson::OUT_OF_BOUNDS ? JSON_OK : JSON_TRAILING;
}

} // namespace

struct json_reader {
	ondemand::parser parser;
	ondemand::parser nested; /* of json_each(), which may run inside a walk */
	names set;
	const char *duplicate; /* second occurrence of the key that the last walk refused */
};

extern "C" const char *
json_error_text(enum json_error error)
{
	switch (error) {
	case JSON_OK:
		return "good JSON";
	case JSON_SYNTAX:
		return "invalid JSON";
	case JSON_ENCODING:
		return "invalid JSON: bad UTF-8, escape or surrogate";
	case JSON_TOO_DEEP:
		return "nested deeper than 32 levels";
	case JSON_NOT_OBJECT:
		return "not a JSON object";
	case JSON_DUPLICATE_KEY:
		return "the same key twice";
	case JSON_TRAILING:
		return "invalid JSON: something behind the object";
	case JSON_NO_MEMORY:
		return "out of memory";
	case JSON_STOPPED:
		return "stopped";
	}
	return "unknown error";
}

extern "C" struct json_reader *
json_reader_new(size_t capacity)
{
	json_reader *reader = new (std::nothrow) json_reader();

	if (reader == nullptr)
		return nullptr;
	if (reader->parser.allocate(capacity < 1024 ? 1024 : capacity) != simdjson::SUCCESS) {
		delete reader;
		return nullptr;
	}
	return reader;
}

extern "C" void
json_reader_free(struct json_reader *reader)
{
	if (reader == nullptr)
		return;
	free(reader->set.entries);
	free(reader->set.slots);
	delete reader;
}

extern "C" enum json_error
json_walk(struct json_reader *reader, const char *text, size_t length,
    int (*field)(void *context, const struct json_field *), void *context)
{
	ondemand::document document;
	ondemand::object object;
	walk state = { &document, nullptr };
	json_error rc;
	size_t start = 0;
	simdjson::error_code error;

	while (start < length && is_blank(text[start]))
		start++;
	if (start == length)
		return JSON_SYNTAX;
	error = reader->parser.iterate(text, length, length + JSON_PADDING).get(document);
	if (error != simdjson::SUCCESS)
		return from_simdjson(error);
	if (text[start] != '{')
		return other_root(document);
	error = document.get_object().get(object);
	if (error != simdjson::SUCCESS)
		return from_simdjson(error);
	reader->set.count = 0;
	rc = walk_members(state, object, reader->set, field, context);
	reader->duplicate = state.duplicate;
	return rc == JSON_OK ? require_end(document) : rc;
}

extern "C" size_t
json_duplicate_at(const struct json_reader *reader, const char *text)
{
	return static_cast<size_t>(reader->duplicate - text);
}

namespace
{

struct pick {
	const char *const *names;
	size_t count;
	json_value *values;
};

int
pick_field(void *context, const json_field *field)
{
	pick *wanted = static_cast<pick *>(context);

	if (field->name.length == 0)
		return 0;
	/* The first byte decides mostly. A name in the text may contain NULs, hence the lengths. */
	for (size_t i = 0; i < wanted->count; i++)
		if (wanted->names[i][0] == field->name.data[0] &&
		    strlen(wanted->names[i]) == field->name.length &&
		    memcmp(wanted->names[i], field->name.data, field->name.length) == 0)
			wanted->values[i] = field->value;
	return 0;
}

} // namespace

extern "C" enum json_error
json_pick(struct json_reader *reader, const char *text, size_t length, const char *const names[],
    size_t count, struct json_value values[])
{
	pick wanted = { names, count, values };

	memset(values, 0, count * sizeof(*values));
	return json_walk(reader, text, length, pick_field, &wanted);
}

extern "C" enum json_error
json_each(struct json_reader *reader, struct span container,
    int (*item)(void *context, struct span name, const struct json_value *), void *context)
{
	ondemand::document document;
	walk state = { &document, nullptr };
	json_value out;
	simdjson::error_code error =
	    reader->nested
		.iterate(container.data, container.length, container.length + JSON_PADDING)
		.get(document);

	if (error != simdjson::SUCCESS)
		return from_simdjson(error);
	if (container.length > 0 && container.data[0] == '[') {
		ondemand::array array;

		error = document.get_array().get(array);
		if (error != simdjson::SUCCESS)
			return from_simdjson(error);
		for (auto element : array) {
			ondemand::value child;
			json_error rc;

			error = element.get(child);
			if (error != simdjson::SUCCESS)
				return from_simdjson(error);
			rc = walk_value(state, child, out, 2);
			if (rc != JSON_OK)
				return rc;
			if (item(context, span{ "", 0 }, &out) != 0)
				return JSON_STOPPED;
		}
	} else {
		ondemand::object object;

		error = document.get_object().get(object);
		if (error != simdjson::SUCCESS)
			return from_simdjson(error);
		for (auto member : object) {
			ondemand::field field;
			std::string_view name;
			json_error rc;

			error = std::move(member).get(field);
			if (error == simdjson::SUCCESS)
				error = field.unescaped_key().get(name);
			if (error != simdjson::SUCCESS)
				return from_simdjson(error);
			rc = walk_value(state, field.value(), out, 2);
			if (rc != JSON_OK)
				return rc;
			if (item(context, span{ name.data(), name.size() }, &out) != 0)
				return JSON_STOPPED;
		}
	}
	return require_end(document);
}

namespace
{

struct writer {
	char *data;
	size_t length, capacity;
	bool overflow;
};

void
put(writer &out, const char *bytes, size_t length)
{
	if (length > out.capacity - out.length) {
		out.overflow = true;
		return;
	}
	memcpy(out.data + out.length, bytes, length);
	out.length += length;
}

int
hex4(const char *at, const char *end)
{
	int value = 0;

	if (end - at < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		char c = at[i];

		if (c >= '0' && c <= '9')
			value = value * 16 + (c - '0');
		else if (c >= 'a' && c <= 'f')
			value = value * 16 + (c - 'a' + 10);
		else if (c >= 'A' && c <= 'F')
			value = value * 16 + (c - 'A' + 10);
		else
			return -1;
	}
	return value;
}

void
put_code_point(writer &out, uint32_t point)
{
	char bytes[4];
	size_t length;

	if (point < 0x80) {
		bytes[0] = static_cast<char>(point);
		length = 1;
	} else if (point < 0x800) {
		bytes[0] = static_cast<char>(0xc0 | point >> 6);
		bytes[1] = static_cast<char>(0x80 | (point & 0x3f));
		length = 2;
	} else if (point < 0x10000) {
		bytes[0] = static_cast<char>(0xe0 | point >> 12);
		bytes[1] = static_cast<char>(0x80 | (point >> 6 & 0x3f));
		bytes[2] = static_cast<char>(0x80 | (point & 0x3f));
		length = 3;
	} else {
		bytes[0] = static_cast<char>(0xf0 | point >> 18);
		bytes[1] = static_cast<char>(0x80 | (point >> 12 & 0x3f));
		bytes[2] = static_cast<char>(0x80 | (point >> 6 & 0x3f));
		bytes[3] = static_cast<char>(0x80 | (point & 0x3f));
		length = 4;
	}
	put(out, bytes, length);
}

/* Unescapes a \u escape, or a pair of them for a surrogate pair. `at` points behind the u. Returns
 * the position behind the escape, or nullptr for a bad escape. */
const char *
unescape_unicode(writer &out, const char *at, const char *end)
{
	int high = hex4(at, end), low;

	if (high < 0 || (high >= 0xdc00 && high <= 0xdfff))
		return nullptr;
	at += 4;
	if (high < 0xd800 || high > 0xdfff) {
		put_code_point(out, static_cast<uint32_t>(high));
		return at;
	}
	if (end - at < 6 || at[0] != '\\' || at[1] != 'u')
		return nullptr;
	low = hex4(at + 2, end);
	if (low < 0xdc00 || low > 0xdfff)
		return nullptr;
	put_code_point(out,
	    0x10000 + (static_cast<uint32_t>(high - 0xd800) << 10) +
		static_cast<uint32_t>(low - 0xdc00));
	return at + 6;
}

/* Length of the UTF-8 sequence at `at` (RFC 3629), with its code point; 0 for an invalid
 * sequence. */
size_t
utf8_length(const unsigned char *at, size_t left, uint32_t &point)
{
	size_t length;

	point = at[0];
	if (at[0] < 0x80)
		return 1;
	if (at[0] >= 0xc2 && at[0] <= 0xdf)
		length = 2, point = at[0] & 0x1f;
	else if (at[0] >= 0xe0 && at[0] <= 0xef)
		length = 3, point = at[0] & 0x0f;
	else if (at[0] >= 0xf0 && at[0] <= 0xf4)
		length = 4, point = at[0] & 0x07;
	else
		return 0;
	if (left < length)
		return 0;
	for (size_t i = 1; i < length; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (at[i] & 0x3f);
	}
	if ((length == 3 && (point < 0x800 || (point >= 0xd800 && point <= 0xdfff))) ||
	    (length == 4 && (point < 0x10000 || point > 0x10ffff)))
		return 0;
	return length;
}

/* Controls, line separators, and marks that change the direction of text. */
bool
is_control(uint32_t point)
{
	return point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0x61c ||
	    point == 0x200e || point == 0x200f || (point >= 0x2028 && point <= 0x202e) ||
	    (point >= 0x2066 && point <= 0x2069);
}

} // namespace

extern "C" long
json_unescape(const struct json_value *value, char *buffer, size_t capacity)
{
	static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
	const char *at = value->raw.data, *end = at + value->raw.length;
	writer out = { buffer, 0, capacity, false };

	while (at < end) {
		const char *back =
		    static_cast<const char *>(memchr(at, '\\', static_cast<size_t>(end - at)));
		const char *letter;

		if (back == nullptr)
			back = end;
		put(out, at, static_cast<size_t>(back - at));
		at = back;
		if (at == end)
			break;
		if (end - at < 2)
			return -EILSEQ;
		if (at[1] == 'u') {
			at = unescape_unicode(out, at + 2, end);
			if (at == nullptr)
				return -EILSEQ;
			continue;
		}
		letter = static_cast<const char *>(memchr(letters, at[1], sizeof(letters) - 1));
		if (letter == nullptr)
			return -EILSEQ;
		put(out, &meanings[letter - letters], 1);
		at += 2;
	}
	return out.overflow ? -ENOBUFS : static_cast<long>(out.length);
}

extern "C" long
json_quote(char *buffer, size_t capacity, const char *s, size_t length)
{
	static const char hex[] = "0123456789abcdef";
	const unsigned char *at = reinterpret_cast<const unsigned char *>(s);
	const unsigned char *end = at + length;
	writer out = { buffer, 0, capacity, false };

	put(out, "\"", 1);
	while (at < end) {
		uint32_t point;
		size_t n = utf8_length(at, static_cast<size_t>(end - at), point);

		if (n == 0) {
			put(out, "\xef\xbf\xbd", 3);
			n = 1;
		} else if (*at == '"' || *at == '\\') {
			char escape[2] = { '\\', static_cast<char>(*at) };

			put(out, escape, 2);
		} else if (is_control(point)) {
			char escape[6] = { '\\', 'u', hex[point >> 12], hex[point >> 8 & 15],
				hex[point >> 4 & 15], hex[point & 15] };

			put(out, escape, 6);
		} else {
			put(out, reinterpret_cast<const char *>(at), n);
		}
		at += n;
	}
	put(out, "\"", 1);
	return out.overflow ? -ENOBUFS : static_cast<long>(out.length);
}
