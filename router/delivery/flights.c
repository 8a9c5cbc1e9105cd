#include "router/delivery/flights.h"

#include <stdlib.h>
#include <string.h>

enum { CAPACITY_MIN = 1024 };

static struct flight *
at(const struct flights *flights, size_t i)
{
	return &flights->flight[(flights->first + i) & (flights->capacity - 1)];
}

bool
flights_reserve(struct flights *flights)
{
	size_t more = flights->capacity ? 2 * flights->capacity : CAPACITY_MIN;
	struct flight *bigger;

	if (flights->count < flights->capacity)
		return true;
	bigger = malloc(more * sizeof(*bigger));
	if (bigger == NULL)
		return false;
	for (size_t i = 0; i < flights->count; i++)
		bigger[i] = *at(flights, i);
	free(flights->flight);
	flights->flight = bigger;
	flights->capacity = more;
	flights->first = 0;
	return true;
}

void
flights_add(struct flights *flights, uint64_t sequence, uint64_t position)
{
	*at(flights, flights->count++) =
	    (struct flight){ .sequence = sequence, .position = position };
}

const struct flight *
flights_oldest(const struct flights *flights)
{
	return flights->count == 0 ? NULL : at(flights, 0);
}

void
flights_drop_oldest(struct flights *flights)
{
	flights->first++;
	flights->count--;
}

/* The entry of this message, or NULL. */
static struct flight *
find_flight(const struct flights *flights, uint64_t sequence)
{
	size_t low = 0, high = flights->count;

	if (high > 0 && at(flights, 0)->sequence == sequence) /* mostly */
		return at(flights, 0);
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (at(flights, middle)->sequence < sequence)
			low = middle + 1;
		else
			high = middle;
	}
	return low < flights->count && at(flights, low)->sequence == sequence ? at(flights, low)
									      : NULL;
}

uint64_t
flights_find(const struct flights *flights, uint64_t sequence)
{
	const struct flight *flight = find_flight(flights, sequence);

	return flight == NULL ? 0 : flight->position;
}

void
flights_remove(struct flights *flights, uint64_t sequence)
{
	struct flight *flight = find_flight(flights, sequence);

	if (flight != NULL)
		flight->position = 0;
	while (flights->count > 0 && at(flights, 0)->position == 0)
		flights_drop_oldest(flights);
}

void
flights_compact(struct flights *flights, const struct settled *settled)
{
	size_t kept = 0;

	for (size_t i = 0; i < flights->count; i++)
		if (at(flights, i)->position != 0 &&
		    !settled_has(settled, at(flights, i)->sequence))
			*at(flights, kept++) = *at(flights, i);
	flights->count = kept;
}

void
flights_free(struct flights *flights)
{
	free(flights->flight);
	*flights = (struct flights){ 0 };
}
