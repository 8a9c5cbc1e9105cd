#include "ctl/queues.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "config/command.h"
#include "config/suggest.h"
#include "ctl/ctl.h"

void
queues_of_config(struct ctl *ctl)
{
	const struct config *config = &ctl->config;
	struct queues *known = &ctl->known;

	known->of_router = false;
	known->count = (unsigned)config->queue_count;
	strlcpy(known->source, config->file != NULL ? config->file : "the built-in configuration",
	    sizeof(known->source));
	for (unsigned i = 0; i < known->count; i++) {
		const struct config_queue *queue = &config->queues[i];

		strlcpy(known->queue[i].name, queue->name, sizeof(known->queue[i].name));
		known->queue[i].dead_letter_queue = queue->dead_letter_queue;
		known->queue[i].visibility_ns = queue->visibility_ns;
	}
}

static void
check_names(const struct ctl *ctl)
{
	if (ctl->any_log)
		return;
	for (int i = 0; i < ctl->queue_count; i++)
		if (queues_index(ctl, ctl->queues[i]) < 0)
			queues_none(ctl, "", ctl->queues[i]);
}

/* Makes printed commands refer to the router's configuration, instead of this program's. */
static void
name_its_file(struct ctl *ctl, const char *file)
{
	const struct config_options options = {
		.file = file[0] != '\0' ? file : NULL,
		.base_dir = ctl->options.base_dir,
	};

	free(ctl->config.options);
	ctl->config.options = command_options(&options);
	if (ctl->config.options == NULL)
		err(EX_OSERR, "options");
}

void
queues_of_router(struct ctl *ctl, const struct control *control)
{
	const struct control_facts *facts = &control->facts;
	struct queues *known = &ctl->known;

	known->of_router = true;
	known->count = facts->queues;
	strlcpy(known->source,
	    facts->config_file[0] != '\0' ? facts->config_file : "the built-in configuration",
	    sizeof(known->source));
	for (unsigned i = 0; i < known->count; i++) {
		strlcpy(known->queue[i].name, facts->queue[i].name, sizeof(known->queue[i].name));
		known->queue[i].dead_letter_queue = facts->queue[i].dead_letter_queue;
		known->queue[i].visibility_ns = facts->queue[i].visibility_ns;
	}
	name_its_file(ctl, facts->config_file);
	check_names(ctl);
}

void
queues_find(struct ctl *ctl)
{
	struct control control;

	if (ctl_open_living(ctl, &control, false) == 0) {
		queues_of_router(ctl, &control);
		control_close(&control);
		return;
	}
	queues_of_config(ctl);
	/* A dead router's segment still has the name of its configuration. */
	if (ctl->options.file == NULL && ctl_open_control(ctl, &control, false) == 0) {
		name_its_file(ctl, control.facts.config_file);
		control_close(&control);
	}
	check_names(ctl);
}

int
queues_index(const struct ctl *ctl, const char *name)
{
	for (unsigned i = 0; i < ctl->known.count; i++)
		if (strcmp(ctl->known.queue[i].name, name) == 0)
			return (int)i;
	return -1;
}

bool
queues_is_dead(const struct ctl *ctl, unsigned index)
{
	return ctl->known.queue[index].dead_letter_queue == index;
}

const char *
queues_dead_name(const struct ctl *ctl, const char *name)
{
	int index = queues_index(ctl, name);

	return index < 0 ? "" : ctl->known.queue[ctl->known.queue[index].dead_letter_queue].name;
}

bool
queues_is_managed(const struct ctl *ctl, const char *name)
{
	int index = queues_index(ctl, name);

	return strcmp(name, "subscription-control") != 0 &&
	    (index < 0 || !queues_is_dead(ctl, (unsigned)index));
}

bool
queues_is_selected(const struct ctl *ctl, const char *name)
{
	if (ctl->queue_count == 0)
		return queues_is_managed(ctl, name);
	for (int i = 0; i < ctl->queue_count; i++)
		if (strcmp(ctl->queues[i], name) == 0)
			return true;
	return false;
}

void
queues_none(const struct ctl *ctl, const char *what, const char *name)
{
	struct suggestion meant = { .word = name };
	const struct queues *known = &ctl->known;
	static char list[CONTROL_QUEUES * (CONFIG_NAME_BYTES + 2)];

	for (unsigned i = 0; i < known->count; i++) {
		suggest_consider(&meant, known->queue[i].name);
		strlcat(list, i > 0 ? ", " : " ", sizeof(list));
		strlcat(list, known->queue[i].name, sizeof(list));
	}
	errx(known->of_router ? EX_CONFIG : EX_USAGE, "%s%s: %s no queue of this name (%s)%s%s%s",
	    what, name, known->of_router ? "the router has" : "there is", known->source,
	    meant.best != NULL ? "; did you mean " : "; there are:",
	    meant.best != NULL ? meant.best : list, meant.best != NULL ? "?" : "");
}
