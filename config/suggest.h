/*
 * suggest - "did you mean": finds the word of a list nearest to a misspelt one.
 */
#ifndef HEADGATE_CONFIG_SUGGEST_H
#define HEADGATE_CONFIG_SUGGEST_H

struct suggestion {
	const char *word; /* the misspelt word */
	const char *best; /* nearest candidate so far; NULL: none is near */
	unsigned distance;
};

/* Considers a word of the list. */
void suggest_consider(struct suggestion *, const char *candidate);

#endif
