#include "ctl/process.h"

#include <stdio.h>
#include <string.h>

struct process
process_look(pid_t pid)
{
	struct process process = { .parent = 0 };
	char path[64], line[512], *name_end;
	char state;
	FILE *file;
	int parent;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (file == NULL)
		return process;
	/* PID (NAME) STATE PARENT ...: anything may stand in the name. */
	name_end = fgets(line, sizeof(line), file) != NULL ? strrchr(line, ')') : NULL;
	if (name_end != NULL && sscanf(name_end + 1, " %c %d", &state, &parent) == 2) {
		process.parent = parent;
		process.frozen = state == 'T' || state == 't';
	}
	fclose(file);
	return process;
}
