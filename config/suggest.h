/*
 * suggest - "did you mean": the word of a list that was probably meant.
 */
#ifndef HEADGATE_CONFIG_SUGGEST_H
#define HEADGATE_CONFIG_SUGGEST_H

struct suggestion {
	const char *word; /* that was typed */
	const char *best; /* the nearest that was considered; NULL: none is near */
	unsigned distance;
};

/* Considers one word of the list. */
void suggest_consider(struct suggestion *, const char *candidate);

#endif
