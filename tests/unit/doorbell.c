/*
 * Doorbells between processes: no wake-up is lost, and none is wasted; every sleep ends.
 */
#include <criterion/criterion.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shm/doorbell.h"

enum { ROUNDS = 100000, SLEEP_MS = 20000, DEADLINE_MS = 100000 };

/* Shared by two processes. Each process increments its own ball, and sleeps at its own bell. */
struct court {
	_Alignas(128) struct doorbell bell[2];
	_Alignas(128) _Atomic uint64_t ball[2];
	_Alignas(128) _Atomic uint64_t wakes;
	_Atomic uint32_t stop;
};

static int event_fd[2] = { -1, -1 }; /* of a side that sleeps in poll() */

static struct court *
open_court(void)
{
	struct court *court =
	    mmap(NULL, sizeof(*court), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	cr_assert(court != MAP_FAILED, "mmap");
	return court;
}

static uint64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Forks a child, which ends by _exit() only, and at the latest with the test. */
static pid_t
fork_child(void)
{
	pid_t child = fork();

	cr_assert(child >= 0, "fork");
	if (child == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return child;
}

/* Sleeps once, by the doorbell's rules. False after the time-out. */
static bool
sleep_once(struct court *court, int me, uint64_t expected)
{
	uint64_t start_ms = now_ms();

	doorbell_prepare(&court->bell[me]);
	if (atomic_load_explicit(&court->ball[!me], memory_order_acquire) < expected) {
		if (event_fd[me] < 0) {
			doorbell_wait(&court->bell[me], SLEEP_MS * 1000000LL);
		} else {
			struct pollfd polled = { .fd = event_fd[me], .events = POLLIN };
			uint64_t wakes;

			if (poll(&polled, 1, SLEEP_MS) == 1 &&
			    read(event_fd[me], &wakes, sizeof(wakes)) != sizeof(wakes))
				return false;
		}
	}
	doorbell_cancel(&court->bell[me]);
	return now_ms() - start_ms < SLEEP_MS;
}

static void
wake(struct court *court, int whom)
{
	uint64_t one = 1;

	if (event_fd[whom] < 0)
		doorbell_ring(&court->bell[whom]);
	else if (doorbell_must_wake(&court->bell[whom]) &&
	    write(event_fd[whom], &one, sizeof(one)) != sizeof(one))
		_exit(3);
}

/* Side 0 serves. Returns the round with a lost wake-up, or 0. */
static uint64_t
play(struct court *court, int me)
{
	uint64_t deadline_ms = now_ms() + DEADLINE_MS;

	for (uint64_t round = 1; round <= ROUNDS; round++) {
		if (me == 0) {
			/* Varies the moment of the wake-up relative to the other side's sleep. */
			for (volatile unsigned i = 0; i < round % 256; i++)
				;
			atomic_store_explicit(&court->ball[me], round, memory_order_release);
			wake(court, !me);
		}
		while (atomic_load_explicit(&court->ball[!me], memory_order_acquire) < round)
			if (!sleep_once(court, me, round) || now_ms() > deadline_ms)
				return round;
		if (me == 1) {
			atomic_store_explicit(&court->ball[me], round, memory_order_release);
			wake(court, !me);
		}
	}
	return 0;
}

static void
check_game(bool first_polls, bool second_polls)
{
	struct court *court = open_court();
	uint64_t lost;
	pid_t child;
	int status;

	event_fd[0] = first_polls ? eventfd(0, EFD_CLOEXEC) : -1;
	event_fd[1] = second_polls ? eventfd(0, EFD_CLOEXEC) : -1;
	child = fork_child();
	if (child == 0)
		_exit(play(court, 1) != 0);
	lost = play(court, 0);
	cr_assert(
	    lost == 0, "round %lu: slept on with the ball here or on its way", (unsigned long)lost);
	cr_assert(waitpid(child, &status, 0) == child && status == 0, "the other: %x", status);
}

Test(doorbell, a_hundred_thousand_futex_wakes_and_none_is_lost, .timeout = 1200)
{
	check_game(false, false);
}

Test(doorbell, a_hundred_thousand_wakes_of_a_worker_and_a_router_and_none_is_lost, .timeout = 1200)
{
	check_game(true, false);
}

Test(doorbell, a_hundred_thousand_eventfd_wakes_and_none_is_lost, .timeout = 1200)
{
	check_game(true, true);
}

/* The waker does not wait for the sleeper's turn, so its publications hit every moment between the
 * sleeper's last look and its sleep. */
Test(doorbell, a_sleeper_whose_waker_never_waits_loses_nothing, .timeout = 1200)
{
	struct court *court = open_court();
	uint64_t seen = 0, deadline_ms = now_ms() + DEADLINE_MS;
	pid_t child = fork_child();
	int status;

	event_fd[0] = event_fd[1] = -1;
	if (child == 0) {
		for (uint64_t n = 1; n <= 20 * ROUNDS; n++) {
			atomic_store_explicit(&court->ball[1], n, memory_order_release);
			doorbell_ring(&court->bell[0]);
			/* No further ball before this one is taken: a later ring must not mend a
			 * lost one. */
			while (atomic_load_explicit(&court->ball[0], memory_order_acquire) < n)
				if (n % 64 == 0 && now_ms() > deadline_ms)
					_exit(1);
		}
		_exit(0);
	}
	while (seen < 20 * ROUNDS) {
		if (atomic_load_explicit(&court->ball[1], memory_order_acquire) == seen)
			cr_assert(sleep_once(court, 0, seen + 1), "lost: %lu", (unsigned long)seen);
		seen = atomic_load_explicit(&court->ball[1], memory_order_acquire);
		atomic_store_explicit(&court->ball[0], seen, memory_order_release);
		cr_assert(
		    seen % 64 != 0 || now_ms() < deadline_ms, "stuck at %lu", (unsigned long)seen);
	}
	cr_assert(waitpid(child, &status, 0) == child && status == 0, "the waker: %x", status);
}

/* Rings in a process whose seccomp filter allows read, write and exit only. */
static int
ring_without_system_calls(struct doorbell *bell)
{
	pid_t child = fork_child();
	int status;

	if (child == 0) {
		if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0)
			_exit(77);
		for (int i = 0; i < 1000; i++)
			doorbell_ring(bell);
		syscall(SYS_exit, 0);
	}
	cr_assert(waitpid(child, &status, 0) == child, "waitpid");
	return status;
}

Test(doorbell, ringing_where_nobody_sleeps_makes_no_system_call, .timeout = 600)
{
	struct court *court = open_court();
	int status;

	if (getenv("HEADGATE_VALGRIND") != NULL)
		cr_skip("valgrind makes system calls of its own");
	status = ring_without_system_calls(&court->bell[0]);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		cr_skip("no seccomp here");
	cr_assert(status == 0, "status %x", status);
	doorbell_prepare(&court->bell[0]);
	status = ring_without_system_calls(&court->bell[0]);
	cr_assert(WIFSIGNALED(status), "a sleeper is woken by a system call: %x", status);
	doorbell_prepare(&court->bell[0]);
	doorbell_cancel(&court->bell[0]);
	cr_assert(ring_without_system_calls(&court->bell[0]) == 0, "it did not go to sleep");
}

Test(doorbell, one_sleep_is_one_wake)
{
	struct court *court = open_court();
	struct doorbell *bell = &court->bell[0];

	cr_assert(!doorbell_must_wake(bell), "nobody sleeps");
	doorbell_prepare(bell);
	cr_assert(doorbell_must_wake(bell), "somebody sleeps");
	cr_assert(!doorbell_must_wake(bell), "it was woken");
	doorbell_prepare(bell);
	doorbell_cancel(bell);
	cr_assert(!doorbell_must_wake(bell), "it got up by itself");
}

Test(doorbell, of_several_wakers_one_wakes, .timeout = 1200)
{
	enum { SLEEPS = 50000, WAKERS = 3 };
	struct court *court = open_court();
	uint64_t deadline_ms = now_ms() + DEADLINE_MS;
	pid_t waker[WAKERS];
	int status;

	for (int i = 0; i < WAKERS; i++) {
		waker[i] = fork_child();
		if (waker[i] == 0) {
			while (!atomic_load(&court->stop))
				if (doorbell_must_wake(&court->bell[0]))
					atomic_fetch_add(&court->wakes, 1);
			_exit(0);
		}
	}
	for (uint64_t n = 1; n <= SLEEPS; n++) {
		doorbell_prepare(&court->bell[0]);
		while (atomic_load(&court->bell[0].sleeping) != 0 || atomic_load(&court->wakes) < n)
			cr_assert(now_ms() < deadline_ms, "sleep %lu", (unsigned long)n);
	}
	atomic_store(&court->stop, 1);
	for (int i = 0; i < WAKERS; i++)
		cr_assert(waitpid(waker[i], &status, 0) == waker[i] && status == 0, "%x", status);
	cr_assert(atomic_load(&court->wakes) == SLEEPS, "%lu wakes of %d sleeps",
	    (unsigned long)atomic_load(&court->wakes), SLEEPS);
}

/* The waker dies before the ring, or after it has taken the sleeper's flag. */
static void
check_dead_waker(bool takes_it_away)
{
	struct court *court = open_court();
	struct doorbell *bell = &court->bell[0];
	uint64_t deadline_ms = now_ms() + DEADLINE_MS;
	pid_t child = fork_child();

	if (child == 0) {
		while (atomic_load(&bell->sleeping) != 1)
			;
		if (takes_it_away && !doorbell_must_wake(bell))
			_exit(1);
		kill(getpid(), SIGKILL);
	}
	for (bool dead = false; !dead;) {
		uint64_t start_ms = now_ms();
		int status = 0;

		doorbell_prepare(bell);
		doorbell_wait(bell, 50 * 1000000);
		doorbell_cancel(bell);
		cr_assert(now_ms() - start_ms < SLEEP_MS && now_ms() < deadline_ms, "it sleeps on");
		dead = waitpid(child, &status, WNOHANG) == child;
		cr_assert(!dead || WIFSIGNALED(status), "the waker: %x", status);
	}
}

Test(doorbell, a_sleeper_whose_waker_died_gets_up_by_itself, .timeout = 1200)
{
	check_dead_waker(false);
	check_dead_waker(true);
}

Test(doorbell, a_sleep_ends_with_its_time_and_not_before, .timeout = 600)
{
	struct court *court = open_court();
	uint64_t start_ms = now_ms();

	doorbell_prepare(&court->bell[0]);
	doorbell_wait(&court->bell[0], 30 * 1000000);
	cr_assert(now_ms() - start_ms >= 29, "after %lu ms", (unsigned long)(now_ms() - start_ms));
	/* A ring before the sleep prevents the sleep. */
	doorbell_ring(&court->bell[0]);
	start_ms = now_ms();
	doorbell_wait(&court->bell[0], SLEEP_MS * 1000000LL);
	cr_assert(now_ms() - start_ms < SLEEP_MS, "it slept all the same");
}
