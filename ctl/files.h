/*
 * files - the files of a log, one by one.
 */
#ifndef HEADGATE_CTL_FILES_H
#define HEADGATE_CTL_FILES_H

#include "ctl/ctl.h"
#include "log/audit.h"

/* Prints a line for each, or an object: what it is, and what log_audit_read() has found in it. */
void files_print(const struct ctl *, const char *queue, const struct log_audit *);

#endif
