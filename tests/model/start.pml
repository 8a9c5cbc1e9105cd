/*
 * The start words of shm/start.h as a model for Spin: a worker that is quick, and a router that kills who is slow.
 * start.sh runs it. Each step names the function it stands for: whoever changes one of them changes it here too.
 *
 * Store buffers are as in doorbell.pml: a store waits in its processor's buffer, and comes to memory at any moment.
 *
 *   -DTSO   as on x86: what is stored first comes to memory first
 *   -DWEAK  (the default) as on ARM: a relaxed store goes ahead of what was stored before it, but not to the same
 *           address; a release store comes after all of it
 *
 * The worker is at no message for as long as LIMIT, and it may be idle for ever. So the router, which kills who
 * looks busy for that long, must never do so: the assertion.
 *
 * Bugs that can be planted, and all are found:
 *
 *   -DCLEAR_SINCE       start_clear() clears since_ns, too
 *   -DRELAXED_SET       start_set() publishes by a relaxed store; but not found with TSO
 *   -DSEQUENCE_FIRST    start_set() stores since_ns behind sequence
 *   -DREAD_SINCE_FIRST  start_get() loads since_ns before sequence: what a relaxed load of sequence allows
 *   -DLATE_CLOCK        the router takes the time after it has read the words
 */
#define MESSAGES 3
#define LIMIT    2
#define TIME     7
#ifdef RELAXED_SET
#define SET relaxed
#else
#define SET release
#endif

#define SEQUENCE 0
#define SINCE    1

mtype = { relaxed, release };
byte memory[2];
chan buffer = [4] of { byte, mtype, byte }; /* the worker's: address, order, value */
byte now = 1;                               /* the clock */
byte started[MESSAGES + 1]; /* when this message was started; 0: it was not, or all can see that it has ended */
byte shown;                 /* the sequence that is in memory */

#define STORE(address, order, value) buffer!address,order,value

inline come_to_memory(address, value)
{
	memory[address] = value;
	if
	:: address == SEQUENCE ->
		started[shown] = 0;
		shown = value
	:: else
	fi;
	address = 0;
	value = 0
}

proctype store_buffer()
{
	byte address, value;

end:
	do
	:: d_step {
		buffer?address,_,value ->
		come_to_memory(address, value)
	}
#ifndef TSO
	:: d_step {
		buffer??SINCE,relaxed,value ->
		address = SINCE;
		come_to_memory(address, value)
	}
	:: d_step {
		!(buffer??[SEQUENCE,release,_]) && buffer??[SEQUENCE,relaxed,_] ->
		buffer??SEQUENCE,relaxed,value;
		address = SEQUENCE;
		come_to_memory(address, value)
	}
#endif
	od
}

/* Time goes on, but not beyond what a quick worker takes. */
#define IN_TIME(n) (started[n] == 0 || now + 1 < started[n] + LIMIT)

proctype clock()
{
end:
	do
	:: atomic { now < TIME && IN_TIME(1) && IN_TIME(2) && IN_TIME(3) -> now++ }
	od
}

/* start_set() */
inline start_set(n)
{
	atomic {
		since = now; /* monotonic_ns() */
		started[n] = since
	};
#ifdef SEQUENCE_FIRST
	STORE(SEQUENCE, SET, n);
	STORE(SINCE, relaxed, since)
#else
	STORE(SINCE, relaxed, since);
	STORE(SEQUENCE, SET, n)
#endif
}

/* start_clear() */
inline start_clear()
{
#ifdef CLEAR_SINCE
	STORE(SINCE, relaxed, 0);
#endif
	STORE(SEQUENCE, relaxed, 0)
}

proctype worker()
{
	byte n, since;

	do
	:: n < MESSAGES ->
		n++;
		start_set(n);
		/* The next one at once, or a pause. */
		if
		:: start_clear()
		:: n < MESSAGES
		fi
	:: n == MESSAGES -> break
	od
}

/* check_time() in router/delivery/delivery.c, and those who show how long a worker has been at a message. */
proctype router()
{
	byte sequence, since, seen_at;

	do
	:: now < TIME ->
		seen_at = now;
#ifdef READ_SINCE_FIRST
		since = memory[SINCE];
		sequence = memory[SEQUENCE];
#else
		sequence = memory[SEQUENCE]; /* acquire */
		since = memory[SINCE];
#endif
#ifdef LATE_CLOCK
		seen_at = now;
#endif
		assert(sequence == 0 || since >= seen_at || seen_at - since < LIMIT);
		sequence = 0;
		since = 0;
		seen_at = 0
	:: now == TIME -> break
	od
}

init {
	atomic {
		run store_buffer();
		run clock();
		run worker();
		run router()
	}
}
