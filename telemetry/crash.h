/*
 * crash - places where the fault tests kill a process.
 *
 * Installed programs contain no code for them. Programs compiled with HEADGATE_CRASH_POINTS (in
 * tests/faults only) count the passes of each place; see tests/faults/crash.c.
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
