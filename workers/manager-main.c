#include "workers/service.h"
#include "workers/worker.h"

int
main(int argc, char **argv)
{
	return worker_main(&service_manager, argc, argv);
}
