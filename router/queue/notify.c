#include "router/queue/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "telemetry/event.h"

#define LIMIT_NS UINT64_C(30000000000) /* for a command; then it is killed */

enum {
	OUTPUT_BYTES = 1000, /* that are kept of what it prints */
	READ_BYTES = 4096,
	READS = 16 /* each time, so that one that prints without end holds up nothing */
};

enum variable { QUEUE, STATE, MESSAGE_ID, SEQUENCE, STATUS, ERROR, SINCE, DEPTH, START, VARIABLES };
static const char *const names[VARIABLES] = { "HEADGATE_QUEUE", "HEADGATE_STATE",
	"HEADGATE_MESSAGE_ID", "HEADGATE_SEQUENCE", "HEADGATE_STATUS", "HEADGATE_ERROR",
	"HEADGATE_SINCE", "HEADGATE_DEPTH", "HEADGATE_START" };

struct notify {
	bool due;                   /* there is something to tell ... */
	struct control_detail next; /* ... this */

	pid_t pid; /* of the command that runs, which leads its group; 0: none does */
	int output_fd;
	uint64_t until_ns;
	bool killed;
	char output[OUTPUT_BYTES + 1];
	size_t length;
};

static void
log_failed(const struct queue *queue, const char *what, int error)
{
	event(EVENT_WARN, "on_trip.failed", "s:queue", queue->config->name, "s:what", what,
	    "s:error", strerror(error), NULL);
}

void
notify_changed(struct queue *queue, enum control_state state, const struct control_detail *detail)
{
	if (state != CONTROL_TRIPPED || queue->config->on_trip == NULL)
		return;
	if (queue->notify == NULL)
		queue->notify = calloc(1, sizeof(*queue->notify));
	if (queue->notify == NULL) {
		log_failed(queue, "memory", ENOMEM);
		return;
	}
	queue->notify->due = true;
	queue->notify->next = *detail;
}

/*
 * Starting.
 */

static uint64_t
depth_of(const struct queue *queue)
{
	const struct control_counters *counters = &queue->control->counters;

	/* The router is the only writer. */
	return atomic_load_explicit(&counters->published, memory_order_relaxed) -
	    atomic_load_explicit(&counters->done, memory_order_relaxed) -
	    atomic_load_explicit(&counters->failed, memory_order_relaxed);
}

static void
format_time(char *text, size_t size, uint64_t ns)
{
	time_t seconds = (time_t)(ns / 1000000000);
	struct tm tm;
	size_t length;

	gmtime_r(&seconds, &tm);
	length = strftime(text, size, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + length, size - length, ".%03uZ", (unsigned)(ns / 1000000 % 1000));
}

/* One that there is no memory for stays NULL. */
static void __attribute__((format(printf, 3, 4)))
set(char *text[VARIABLES], enum variable which, const char *format, ...)
{
	char *value = NULL;
	va_list list;

	va_start(list, format);
	if (vasprintf(&value, format, list) < 0)
		value = NULL;
	va_end(list);
	if (value == NULL || asprintf(&text[which], "%s=%s", names[which], value) < 0)
		text[which] = NULL;
	free(value);
}

static void
fill_variables(
    char *text[VARIABLES], const struct queue *queue, const struct control_detail *detail)
{
	char since[40];

	format_time(since, sizeof(since), detail->since_ns);
	set(text, QUEUE, "%s", queue->config->name);
	set(text, STATE, "%s", control_state_name(CONTROL_TRIPPED));
	set(text, MESSAGE_ID, "%s", detail->message_id);
	set(text, SEQUENCE, "%" PRIu64, detail->sequence);
	set(text, STATUS, "%" PRIu32, detail->status);
	set(text, ERROR, "%s", detail->error);
	set(text, SINCE, "%s", since);
	set(text, DEPTH, "%" PRIu64, depth_of(queue));
	set(text, START, "%sheadgatectl%s start %s", queue->router->config->env,
	    queue->router->config->options, queue->config->name);
}

static void
free_variables(char *text[VARIABLES])
{
	for (int i = 0; i < VARIABLES; i++)
		free(text[i]);
}

static bool
is_ours(const char *variable)
{
	for (int i = 0; i < VARIABLES; i++) {
		size_t length = strlen(names[i]);

		if (strncmp(variable, names[i], length) == 0 && variable[length] == '=')
			return true;
	}
	return false;
}

/* The router's own environment, and the facts. NULL: no memory. */
static char **
make_environment(char *text[VARIABLES])
{
	size_t count = 0, n = 0;
	char **environment;

	while (environ[count] != NULL)
		count++;
	environment = calloc(count + VARIABLES + 1, sizeof(*environment));
	if (environment == NULL)
		return NULL;
	for (size_t i = 0; i < count; i++)
		if (!is_ours(environ[i]))
			environment[n++] = environ[i];
	for (size_t i = 0; i < VARIABLES; i++)
		if (text[i] != NULL)
			environment[n++] = text[i];
	return environment;
}

/* Signals as a program expects them, and its own process group. */
static int
set_attributes(posix_spawnattr_t *attributes)
{
	sigset_t none, all;
	int rc;

	sigemptyset(&none);
	sigfillset(&all);
	rc = posix_spawnattr_setflags(
	    attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
	if (rc == 0)
		rc = posix_spawnattr_setpgroup(attributes, 0);
	if (rc == 0)
		rc = posix_spawnattr_setsigmask(attributes, &none);
	return rc == 0 ? posix_spawnattr_setsigdefault(attributes, &all) : rc;
}

/* Standard input last: the pipe may be at its number. Nothing else is handed on. */
static int
set_descriptors(posix_spawn_file_actions_t *actions, int output_fd)
{
	int rc = posix_spawn_file_actions_adddup2(actions, output_fd, STDOUT_FILENO);

	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(actions, STDOUT_FILENO, STDERR_FILENO);
	if (rc == 0)
		rc = posix_spawn_file_actions_addopen(
		    actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	return rc == 0 ? posix_spawn_file_actions_addclosefrom_np(actions, STDERR_FILENO + 1) : rc;
}

/* The limit that the router was started with: programs that use select(2) need it. */
static void
set_descriptors_limit(uint64_t limit)
{
	struct rlimit limits;

	if (limit == 0 || getrlimit(RLIMIT_NOFILE, &limits) != 0)
		return;
	limits.rlim_cur = limit;
	setrlimit(RLIMIT_NOFILE, &limits);
}

/* Not fork(): it would copy the tables of all of the router's memory. Returns 0 or an errno. */
static int
spawn(pid_t *pid, const char *command, char **environment, int output_fd)
{
	char shell[] = "sh", option[] = "-c", *text = strdup(command);
	char *arguments[] = { shell, option, text, NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int rc;

	if (text == NULL)
		return ENOMEM;
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	rc = set_descriptors(&actions, output_fd);
	if (rc == 0)
		rc = set_attributes(&attributes);
	if (rc == 0)
		rc = posix_spawn(pid, "/bin/sh", &actions, &attributes, arguments, environment);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	free(text);
	return rc;
}

static void
start(struct queue *queue, struct notify *notify, uint64_t now_ns)
{
	const struct router *router = queue->router;
	char *text[VARIABLES] = { NULL };
	char **environment;
	int ends[2], rc;

	notify->due = false;
	if (pipe2(ends, O_CLOEXEC) != 0) {
		log_failed(queue, "pipe", errno);
		return;
	}
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	fill_variables(text, queue, &notify->next);
	environment = make_environment(text);
	set_descriptors_limit(router->descriptors.before);
	rc = environment != NULL ? spawn(&notify->pid, queue->config->on_trip, environment, ends[1])
				 : ENOMEM;
	set_descriptors_limit(router->descriptors.limit);
	free(environment);
	free_variables(text);
	close(ends[1]);
	if (rc != 0) {
		close(ends[0]);
		notify->pid = 0;
		log_failed(queue, "/bin/sh", rc);
		return;
	}
	notify->output_fd = ends[0];
	notify->until_ns = now_ns + LIMIT_NS;
	notify->killed = false;
	notify->length = 0;
	event(EVENT_INFO, "on_trip.started", "s:queue", queue->config->name, "u:pid",
	    (uint64_t)notify->pid, "s:message_id", notify->next.message_id, NULL);
}

/*
 * While it runs.
 */

/* Keeps the beginning; the rest is taken so that it does not wait for us. */
static void
read_output(struct notify *notify)
{
	char bytes[READ_BYTES];

	for (int i = 0; i < READS; i++) {
		ssize_t n = read(notify->output_fd, bytes, sizeof(bytes));
		size_t room = OUTPUT_BYTES - notify->length;

		if (n <= 0)
			return;
		if ((size_t)n < room)
			room = (size_t)n;
		for (size_t k = 0; k < room; k++)
			notify->output[notify->length++] = bytes[k] != '\0' ? bytes[k] : ' ';
	}
}

static bool
has_ended(const struct notify *notify)
{
	siginfo_t info = { .si_pid = 0 };

	/* It is not reaped yet, so that its number stays its group's. */
	return waitid(P_PID, (id_t)notify->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
	    info.si_pid == notify->pid;
}

static void
end(struct queue *queue, struct notify *notify)
{
	int status = 0, signal = 0, code = 0;

	kill(-notify->pid, SIGKILL); /* what it left behind */
	read_output(notify);
	close(notify->output_fd);
	if (waitpid(notify->pid, &status, WNOHANG) == notify->pid) {
		signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
		code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
	}
	notify->pid = 0;
	while (notify->length > 0 && notify->output[notify->length - 1] == '\n')
		notify->length--;
	notify->output[notify->length] = '\0';
	event(status == 0 ? EVENT_INFO : EVENT_WARN, "on_trip.ended", "s:queue",
	    queue->config->name, "d:status", code, "d:signal", signal, "s:output", notify->output,
	    NULL);
}

static void
look_after(struct queue *queue, struct notify *notify, uint64_t now_ns)
{
	read_output(notify);
	if (has_ended(notify)) {
		end(queue, notify);
	} else if (now_ns >= notify->until_ns && !notify->killed) {
		notify->killed = true;
		kill(-notify->pid, SIGKILL);
		event(EVENT_WARN, "on_trip.killed", "s:queue", queue->config->name, "u:pid",
		    (uint64_t)notify->pid, NULL);
	}
}

void
notify_step(struct queue *queue, uint64_t now_ns)
{
	struct notify *notify = queue->notify;

	if (notify == NULL)
		return;
	if (notify->pid != 0)
		look_after(queue, notify, now_ns);
	if (notify->pid == 0 && notify->due)
		start(queue, notify, now_ns);
}

void
notify_free(struct queue *queue)
{
	if (queue->notify != NULL && queue->notify->pid != 0)
		close(queue->notify->output_fd);
	free(queue->notify);
	queue->notify = NULL;
}
