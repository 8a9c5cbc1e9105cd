/*
 * crash - places at which the fault tests end a process, as if it had died there.
 *
 * In what is installed they are nothing. Programs that are compiled with HEADGATE_CRASH_POINTS (they
 * stay in tests/faults) count each pass of each place: see tests/faults/crash.c.
 */
#ifndef HEADGATE_TELEMETRY_CRASH_H
#define HEADGATE_TELEMETRY_CRASH_H

#ifdef HEADGATE_CRASH_POINTS
void crash_point(const char *name);
#define CRASH_POINT(name) crash_point(name)
#else
#define CRASH_POINT(name) ((void)0)
#endif

#endif
