#include "shm/namespace.h"

#include <sys/stat.h>

static uint64_t
inode_of(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? st.st_ino : 0;
}

struct namespaces
namespaces_get(void)
{
	return (struct namespaces){
		.pid = inode_of("/proc/self/ns/pid"),
		.time = inode_of("/proc/self/ns/time"),
	};
}
