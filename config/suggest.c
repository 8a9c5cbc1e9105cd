#include "config/suggest.h"

#include <string.h>

enum { LENGTH_MAX = 64 };

static unsigned
least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* The number of letters to insert, remove, replace or exchange with their neighbour: the optimal
 * string alignment distance, https://en.wikipedia.org/wiki/Damerau%E2%80%93Levenshtein_distance */
static unsigned
distance_of(const char *a, const char *b)
{
	unsigned rows[3][LENGTH_MAX + 1], *before = rows[0], *last = rows[1], *row = rows[2], *free;
	size_t m = strlen(a), n = strlen(b);

	for (size_t k = 0; k <= n; k++)
		last[k] = (unsigned)k;
	for (size_t i = 1; i <= m; i++) {
		row[0] = (unsigned)i;
		for (size_t k = 1; k <= n; k++) {
			row[k] = least(
			    last[k - 1] + (a[i - 1] != b[k - 1]), least(last[k], row[k - 1]) + 1);
			if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1])
				row[k] = least(row[k], before[k - 2] + 1);
		}
		free = before;
		before = last;
		last = row;
		row = free;
	}
	return last[n];
}

void
suggest_consider(struct suggestion *suggestion, const char *candidate)
{
	size_t length = strlen(suggestion->word);
	unsigned distance;

	if (length > LENGTH_MAX || strlen(candidate) > LENGTH_MAX)
		return;
	if (length >= 3 && strncmp(suggestion->word, candidate, length) == 0)
		distance = 1; /* an abbreviation */
	else
		distance = distance_of(suggestion->word, candidate);
	if (distance > 1 + length / 4 || distance >= length ||
	    (suggestion->best != NULL && distance >= suggestion->distance))
		return;
	suggestion->best = candidate;
	suggestion->distance = distance;
}
