#include "config/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { SOCKET_NAME_BYTES = sizeof("/router.sock") };

static int
paths_error(char *error, size_t error_bytes, int rc, const char *path, const char *why)
{
	snprintf(error, error_bytes, "%s: %s", path, why);
	return rc;
}

static const char *
environment(const char *name)
{
	const char *value = getenv(name);

	return value != NULL && value[0] == '/' ? value : NULL;
}

static bool
set(char path[CONFIG_PATH_BYTES], const char *dir, const char *rest)
{
	return snprintf(path, CONFIG_PATH_BYTES, "%s%s", dir, rest) < CONFIG_PATH_BYTES;
}

static bool
set_default_run(struct config *config)
{
	char uid[32];

	if (geteuid() == 0)
		return set(config->run_dir, "/run/headgate", "");
	if (environment("XDG_RUNTIME_DIR") != NULL)
		return set(config->run_dir, environment("XDG_RUNTIME_DIR"), "/headgate");
	snprintf(uid, sizeof(uid), "%u", (unsigned)geteuid());
	return set(config->run_dir, "/tmp/headgate-", uid);
}

static bool
set_default_state(struct config *config)
{
	if (geteuid() == 0)
		return set(config->state_dir, "/var/lib/headgate", "");
	if (environment("XDG_STATE_HOME") != NULL)
		return set(config->state_dir, environment("XDG_STATE_HOME"), "/headgate");
	if (environment("HOME") != NULL)
		return set(config->state_dir, environment("HOME"), "/.local/state/headgate");
	return false;
}

/* Sets the base directory as an absolute path, as a background process changes its working
 * directory. */
static bool
set_base(struct config *config, const char *base)
{
	char absolute[CONFIG_PATH_BYTES];
	char cwd[PATH_MAX];

	if (base[0] == '/') {
		if (!set(absolute, base, ""))
			return false;
	} else if (getcwd(cwd, sizeof(cwd)) == NULL || !set(absolute, cwd, "/") ||
	    strlcat(absolute, base, sizeof(absolute)) >= sizeof(absolute)) {
		return false;
	}
	return set(config->run_dir, absolute, "/run") && set(config->state_dir, absolute, "/state");
}

const char *
paths_base(const char *base_dir)
{
	const char *base = base_dir != NULL ? base_dir : getenv("HEADGATE_DIR");

	return base != NULL && base[0] != '\0' ? base : NULL;
}

int
paths_resolve(struct config *config, const char *base_dir, char *error, size_t error_bytes)
{
	const char *base = paths_base(base_dir);
	char cwd[PATH_MAX];
	bool good;

	if (base != NULL && base[0] != '/' && getcwd(cwd, sizeof(cwd)) == NULL)
		return paths_error(error, error_bytes, -errno, base, PATHS_NO_CWD);
	if (base != NULL)
		good = set_base(config, base);
	else
		good = set_default_run(config) && set_default_state(config);
	if (!good)
		return paths_error(error, error_bytes, -ENAMETOOLONG, "base directory",
		    "cannot be worked out: give -D DIR");
	if (strlen(config->run_dir) + SOCKET_NAME_BYTES >
	    sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return paths_error(error, error_bytes, -ENAMETOOLONG, config->run_dir,
		    "too long for a socket's path, which holds 107 bytes: choose a directory "
		    "nearer "
		    "to the root with -D");
	return 0;
}

/* Syncs the parent directory, so that the new name is durable. A parent that cannot be read is
 * skipped: this process did not make a name there. */
static int
sync_parent(const char *path)
{
	char parent[CONFIG_PATH_BYTES];
	int fd, rc;

	strlcpy(parent, path, sizeof(parent));
	fd = open(dirname(parent), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	rc = fsync(fd) == 0 || errno == EINVAL || errno == EROFS ? 0 : -errno;
	close(fd);
	return rc;
}

/* mkdir -p: parents 0755, the directory itself 0700. */
static int
make_path(const char *path)
{
	char copy[CONFIG_PATH_BYTES];

	strlcpy(copy, path, sizeof(copy));
	for (char *slash = strchr(copy + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		int rc = 0;

		*slash = '\0';
		if (mkdir(copy, 0755) == 0)
			rc = sync_parent(copy);
		else if (errno != EEXIST)
			rc = -errno;
		if (rc != 0)
			return rc;
		*slash = '/';
	}
	return mkdir(copy, 0700) == 0 || errno == EEXIST ? sync_parent(copy) : -errno;
}

/* Symbolic links of this user and of root are followed. Another user's link could lead anywhere. */
static bool
is_followed(const struct stat *st)
{
	return S_ISLNK(st->st_mode) && (st->st_uid == geteuid() || st->st_uid == 0);
}

/* The owner of a path; of a missing path, the owner of the directory in which it would be made. */
static uid_t
owner(const char *path, char place[CONFIG_PATH_BYTES])
{
	struct stat st;

	strlcpy(place, path, CONFIG_PATH_BYTES);
	while (lstat(place, &st) != 0) {
		char *slash = strrchr(place, '/');

		if (slash == NULL || slash == place)
			return geteuid();
		*slash = '\0';
	}
	if (is_followed(&st) && stat(place, &st) != 0)
		return geteuid(); /* later steps report the error */
	return st.st_uid;
}

/* Refuses another user's directory, as files of this user there would stop the other user's router
 * later. Root is refused likewise. */
static int
paths_owner_error(char *error, size_t error_bytes, const char *path, const char *place, uid_t uid)
{
	const struct passwd *user = getpwuid(uid);
	char name[64], run[128];

	snprintf(name, sizeof(name), "%u", (unsigned)uid);
	snprintf(run, sizeof(run), "setpriv --reuid=%u --clear-groups", (unsigned)uid);
	if (user != NULL) {
		snprintf(name, sizeof(name), "%.60s", user->pw_name);
		snprintf(run, sizeof(run), "runuser -u %.60s --", user->pw_name);
	}
	if (geteuid() != 0)
		snprintf(error, error_bytes,
		    "%s: belongs to user %s: run this as that user, or choose "
		    "another directory with -D",
		    place, name);
	else if (strcmp(path, place) == 0)
		snprintf(error, error_bytes,
		    "%s: belongs to user %s, and this is root: run this as that "
		    "user: %s COMMAND",
		    place, name, run);
	else
		snprintf(error, error_bytes,
		    "%s: belongs to user %s, and this is root: run this as that "
		    "user: %s COMMAND; or, if root is meant, make %s first",
		    place, name, run, path);
	return -EPERM;
}

/* Stats the directory, through an allowed symbolic link. */
static int
look_at(const char *path, struct stat *st, char *error, size_t error_bytes)
{
	if (lstat(path, st) != 0)
		return paths_error(error, error_bytes, -errno, path, strerror(errno));
	if (S_ISLNK(st->st_mode) && !is_followed(st))
		return paths_error(
		    error, error_bytes, -EPERM, path, "a symbolic link of another user's");
	if (stat(path, st) != 0)
		return paths_error(error, error_bytes, -errno, path,
		    errno == ENOENT ? "a symbolic link to what is not there" : strerror(errno));
	return 0;
}

const char *
paths_copies_on_write(const char *dir)
{
	static const struct {
		unsigned long type;
		const char *name;
	} kinds[] = { { BTRFS_SUPER_MAGIC, "btrfs" }, { 0x2fc12fc1, "zfs" },
		{ 0xca451a4e, "bcachefs" }, { F2FS_SUPER_MAGIC, "f2fs" },
		{ NILFS_SUPER_MAGIC, "nilfs2" } };
	struct statfs st;
	int fd, flags = 0;
	bool excepted;
	size_t i = 0;

	if (statfs(dir, &st) != 0)
		return NULL;
	while (i < sizeof(kinds) / sizeof(kinds[0]) && kinds[i].type != (unsigned long)st.f_type)
		i++;
	if (i == sizeof(kinds) / sizeof(kinds[0]))
		return NULL;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	excepted = fd >= 0 && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0;
	flags |= FS_NOCOW_FL;
	excepted = excepted && ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0;
	if (fd >= 0)
		close(fd);
	return excepted ? NULL : kinds[i].name;
}

/* The reason why no directory can be made below `place`, with a remedy; NULL: no obstacle. */
static const char *
obstacle(const char *place)
{
	struct stat st;

	if (lstat(place, &st) == 0 && S_ISLNK(st.st_mode) && stat(place, &st) != 0 &&
	    errno == ENOENT)
		return "a symbolic link to what is not there: make that directory, or choose "
		       "another one with -D";
	if (stat(place, &st) == 0 && !S_ISDIR(st.st_mode))
		return "not a directory: move it away, or choose another one with -D";
	return NULL;
}

int
paths_make(const char *path, char *error, size_t error_bytes)
{
	char place[CONFIG_PATH_BYTES];
	uid_t uid = owner(path, place);
	struct stat st;
	int rc;

	/* A missing path in another user's directory: make_path() fails, or this user may write
	 * there. Only root could always write. */
	if (uid != geteuid() && (geteuid() == 0 || strcmp(path, place) == 0))
		return paths_owner_error(error, error_bytes, path, place, uid);
	if (obstacle(place) != NULL)
		return paths_error(error, error_bytes, -ENOTDIR, place, obstacle(place));
	rc = make_path(path);
	if (rc != 0)
		return paths_error(error, error_bytes, rc, path, strerror(-rc));
	rc = look_at(path, &st, error, error_bytes);
	if (rc != 0)
		return rc;
	if (!S_ISDIR(st.st_mode))
		return paths_error(error, error_bytes, -ENOTDIR, path, "not a directory");
	if (st.st_uid != geteuid())
		return paths_owner_error(error, error_bytes, path, path, st.st_uid);
	if (st.st_mode & 022)
		return paths_error(
		    error, error_bytes, -EPERM, path, "others may write to it: chmod go-w");
	return 0;
}

int
config_make_dirs(const struct config *config, char *error, size_t error_bytes)
{
	int rc = paths_make(config->run_dir, error, error_bytes);

	/* On copy-on-write file systems, a write to the allocated control segment needs new space,
	 * and kills the writer if the disk is full. btrfs before Linux 6.17 does so even without
	 * copy on write. */
	if (rc == 0)
		(void)paths_copies_on_write(config->run_dir);
	return rc == 0 ? paths_make(config->state_dir, error, error_bytes) : rc;
}
