/*
 * The wake-up handshake of shm/doorbell.c, and the positions of shm/ring.c, as a model for Spin. doorbell.sh
 * runs it. Each step names the function it stands for: whoever changes one of them changes it here too.
 *
 * Spin runs one step after the other, and processors do not: a store waits in its processor's buffer while
 * later loads go ahead. Here each process has such a buffer, and what is in it comes to memory at any moment.
 * A barrier waits until the buffer is empty.
 *
 *   -DTSO        as on x86: what is stored first comes to memory first
 *   -DWEAK       (the default) as on ARM: relaxed stores to different addresses come to memory in any order, a
 *                release store after all that was stored before it. What TSO allows is a part of this
 *   -DFUTEX      (the default) the sleeper is a worker, on the futex
 *   -DEVENTFD    the sleeper is the router, in its I/O loop
 *   -DWAKERS=n   1 or 2, each with its own ring. The program has one waker for each bell: the router rings the
 *                workers', a worker rings the router's. But doorbell.h promises it for several
 *   -DRECORDS=n  in each ring, 1 to 3; they are published in batches of any size
 *   -DEARLY=n    so many sleeps may end for no reason: by a signal, or by the time-out
 *
 * No sleep ends by itself more often than that. So a lost wake-up is a sleeper that sleeps for ever, which Spin
 * calls an invalid end state. Two things are assertions: a sleep is rung for once, and a record that is read
 * is there.
 *
 * Bugs that can be planted, and what comes of them:
 *
 *   -DNO_BARRIER_A     a wake-up is lost, with TSO too. Any fence weaker than memory_order_seq_cst is as none:
 *   -DNO_BARRIER_B     it lets a load go ahead of a store
 *   -DNO_SECOND_LOOK   a wake-up is lost
 *   -DPLAIN_STORE      for the exchange: two wakers wake for one sleep. None is lost, as each wakes after its
 *                      store; and one waker alone does nothing wrong
 *   -DRELAXED_PUBLISH  a record is read that is not there; but not with TSO
 *
 * What is not here: loads that are early. Those that matter come after barrier A or B, or are acquire loads.
 * The other direction, ring_release() and the router that sleeps until a lane has room: it is the same
 * handshake with another position. A waker that dies: the time-out is for that.
 *
 * To see what happens in a run that fails:
 *
 *   spin -DNO_BARRIER_A -a doorbell.pml && cc -DSAFETY -o pan pan.c && ./pan
 *   spin -DNO_BARRIER_A -t -p -g doorbell.pml
 */
#ifndef WAKERS
#define WAKERS 1
#endif
#ifndef RECORDS
#define RECORDS 3
#endif
#ifndef EARLY
#define EARLY 1
#endif
#ifdef RELAXED_PUBLISH
#define PUBLISH relaxed
#else
#define PUBLISH release
#endif

/* Processes that store, by the number of their buffer: the wakers come first. */
#define SLEEPER   WAKERS
#define PROCESSES (WAKERS + 1)

/* Addresses: doorbell.sleeping; ring_shared.head of each ring; and the bytes of each of its records, as one
 * that is 1 when the record is there. */
#define SLEEPING       0
#define HEAD(ring)     (1 + (ring))
#define RECORD(ring,n) (1 + WAKERS + (ring) * RECORDS + (n))
#define ADDRESSES      (1 + WAKERS + WAKERS * RECORDS)

mtype = { relaxed, release };
byte memory[ADDRESSES];
chan buffer[PROCESSES] = [RECORDS + 2] of { byte, mtype, byte }; /* address, order, value */

bool asleep;  /* the kernel's: the sleeper is in the futex's queue */
byte bell_fd; /* the kernel's: the eventfd's counter */
byte early = EARLY;

bool rung; /* a wake was issued for the 1 that came to memory last */

/*
 * The machine.
 */

/* atomic_store_explicit() */
#define STORE(process, address, order, value) buffer[process]!address,order,value

/* atomic_thread_fence(memory_order_seq_cst), and what system calls and instructions have in them. */
#define BARRIER(process) empty(buffer[process])

/* atomic_load_explicit() is a look at memory[]: no process loads here what is in its own buffer. */

inline come_to_memory(address, value)
{
	memory[address] = value;
	if
	:: address == SLEEPING && value == 1 -> rung = false
	:: else
	fi;
	address = 0;
	value = 0
}

/* A relaxed store goes ahead of what was stored before it, but not to the same address. */
#define GOES_AHEAD(at) \
	:: d_step { \
		buffer[process]??eval(at),relaxed,value -> \
		address = at; \
		come_to_memory(address, value) \
	}

proctype store_buffer(byte process)
{
	byte address, value;

end:
	do
	:: d_step {
		buffer[process]?address,_,value ->
		come_to_memory(address, value)
	}
#ifndef TSO
	GOES_AHEAD(SLEEPING)
	GOES_AHEAD(RECORD(process, 0))
#if RECORDS > 1
	GOES_AHEAD(RECORD(process, 1))
#endif
#if RECORDS > 2
	GOES_AHEAD(RECORD(process, 2))
#endif
#ifdef RELAXED_PUBLISH
	GOES_AHEAD(HEAD(process))
#endif
#endif
	od
}

/*
 * The waker: the router in delivery_pump(), a worker in attachment_publish().
 */

/* doorbell_must_wake() */
inline doorbell_must_wake(must)
{
#ifndef NO_BARRIER_B
	BARRIER(me); /* barrier B */
#endif
	if
#ifdef PLAIN_STORE
	/* A load that saw 1, and a store of 0. */
	:: d_step {
		memory[SLEEPING] == 1 ->
		must = true;
		assert(!rung);
		rung = true
	};
		STORE(me, SLEEPING, relaxed, 0)
#else
	:: memory[SLEEPING] == 1 ->
		/* atomic_exchange_explicit(): in memory, at once. On x86 it is a barrier too. */
		atomic {
#ifdef TSO
			BARRIER(me);
#endif
			d_step {
				must = (memory[SLEEPING] == 1);
				memory[SLEEPING] = 0;
				assert(!must || !rung);
				rung = rung || must
			}
		}
#endif
	:: else -> skip
	fi
}

/* doorbell_ring(), and wake_router() in workers/attachment.c */
inline ring_bell(must)
{
	doorbell_must_wake(must);
	if
	:: must ->
		/* The kernel's locks, and the barrier in FUTEX_WAKE: what was stored before is seen by
		 * who is woken, and by who goes to sleep after that. */
		d_step {
			BARRIER(me) ->
#ifdef EVENTFD
			bell_fd++; /* write(2) */
#else
			asleep = false; /* FUTEX_WAKE */
#endif
			must = false
		}
	:: else
	fi
}

proctype waker(byte me)
{
	byte reserved, published;
	bool must;

	do
	:: reserved < RECORDS -> /* ring_reserve(), and the payload is written */
		STORE(me, RECORD(me, reserved), relaxed, 1);
		reserved++
	:: reserved > published -> /* ring_publish() */
		STORE(me, HEAD(me), PUBLISH, reserved);
		published = reserved;
		ring_bell(must)
	:: published == RECORDS -> break
	od
}

/*
 * The sleeper: a worker in consumer_run() and attachment_wait(), the router in router_step().
 */

/* ring_peek() until a ring has no more. That the records are read at the moment at which the position is
 * loaded is the worst that acquire allows. */
inline take(ring, took)
{
	d_step {
		took = took || memory[HEAD(ring)] > taken[ring];
		do
		:: taken[ring] < memory[HEAD(ring)] ->
			assert(memory[RECORD(ring, taken[ring])] == 1);
			taken[ring]++
		:: else -> break
		od
	}
}

/* ring_filled_bytes(), after doorbell_prepare() */
#define FILLED(ring) (memory[HEAD(ring)] > taken[ring])

#if WAKERS > 1
#define ALL_TAKEN (taken[0] == RECORDS && taken[1] == RECORDS)
#else
#define ALL_TAKEN (taken[0] == RECORDS)
#endif

proctype sleeper()
{
	byte taken[WAKERS];
	bool took, filled;

again:
	took = false;
	take(0, took);
#if WAKERS > 1
	take(1, took);
#endif
	if
	:: took -> goto again
	:: !took && ALL_TAKEN -> goto all_taken
	:: else
	fi;

	/* doorbell_prepare() */
	STORE(SLEEPER, SLEEPING, relaxed, 1);
#ifndef NO_BARRIER_A
	BARRIER(SLEEPER); /* barrier A */
#endif

	/* The second look: attachment_has_delivery(), worker_may_sleep() */
#ifndef NO_SECOND_LOOK
	filled = FILLED(0);
#if WAKERS > 1
	filled = filled || FILLED(1);
#endif
#endif

#ifdef EVENTFD
	/* io_operations.run(): until the read of the eventfd is done, or without waiting. */
	if
	:: atomic { bell_fd > 0 -> bell_fd = 0 }
	:: filled && bell_fd == 0
	:: atomic { !filled && early > 0 -> early-- }
	fi;
#else
	/* doorbell_wait(): the kernel takes the futex's lock, which is a barrier, and compares in memory. */
	if
	:: !filled ->
		atomic {
			BARRIER(SLEEPER);
			asleep = (memory[SLEEPING] == 1)
		};
		if
		:: !asleep
		:: atomic { early > 0 -> early--; asleep = false }
		fi
	:: else
	fi;
#endif
	filled = false;

	/* doorbell_cancel() */
	STORE(SLEEPER, SLEEPING, relaxed, 0);
	goto again;

all_taken:
	skip
}

init {
	byte process;

	atomic {
		do
		:: process < PROCESSES ->
			run store_buffer(process);
			process++
		:: else -> break
		od;
		process = 0;
		do
		:: process < WAKERS ->
			run waker(process);
			process++
		:: else -> break
		od;
		process = 0;
		run sleeper()
	}
}
