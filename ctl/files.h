/*
 * files - prints the files of a log.
 */
#ifndef HEADGATE_CTL_FILES_H
#define HEADGATE_CTL_FILES_H

#include "ctl/ctl.h"
#include "log/audit.h"

/* Prints each file's kind and its contents, as found by log_audit_read(): a line, or a JSON
 * object. */
void files_print(const struct ctl *, const char *queue, const struct log_audit *);

#endif
