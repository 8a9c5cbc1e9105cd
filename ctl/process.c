#include "ctl/process.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

pid_t
process_frozen_child(pid_t pid)
{
	char path[64];
	FILE *file;
	int child, frozen = 0;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	file = fopen(path, "re");
	if (file == NULL)
		return 0;
	while (frozen == 0 && fscanf(file, "%d", &child) == 1)
		frozen = process_look(child).frozen ? child : 0;
	fclose(file);
	return frozen;
}

struct process
process_look_in(const struct control *control, uint32_t pid)
{
	return control_shares_pids(control) ? process_look((pid_t)pid)
					    : (struct process){ .parent = 0 };
}

/* Reads the path of the process's program. False if it cannot be read. */
static bool
program_of(pid_t pid, char program[PATH_MAX])
{
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	n = readlink(path, program, PATH_MAX - 1);
	program[n > 0 ? n : 0] = '\0';
	return n > 0;
}

pid_t
process_supervisor(pid_t worker)
{
	pid_t parent = process_look(worker).parent;
	char own[PATH_MAX], its[PATH_MAX];

	if (parent == 0)
		return 0;
	return program_of(worker, own) && program_of(parent, its) && strcmp(own, its) == 0 ? parent
											   : worker;
}
