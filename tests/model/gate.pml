/*
 * A change of the state word, and a worker that starts handlers, as a model for Spin: there is no barrier between
 * "this message is started" and the look at the state word, and none is needed. start.sh runs it.
 *
 * Who changes the state (control_change_state()) waits until the worker has said in state_seen that it has seen the
 * change (subscription_wait()). From then on no handler that was started under an older state is at work, and none is
 * started: the assertions. It never looks at the start words.
 *
 * Store buffers are as in start.pml; the start words are not read by anybody here, so it does not matter when they come
 * to memory. The state word is changed by a compare-and-swap, in memory at once; a load finds
 * it as new as an earlier load of the same process did, or newer, as memory here never goes back.
 *
 * Bugs that can be planted, and all are found:
 *
 *   -DEARLY_SEEN       the worker says what it has seen while a handler is at work
 *   -DOLD_STATE        it looks at the state once for several messages, before it says what it has seen
 *   -DRELAXED_SEEN     state_seen is a relaxed store: the outcomes may not be there yet; but not found with TSO
 */
#define CHANGES  2
#define MESSAGES 3
#ifdef RELAXED_SEEN
#define SEEN_ORDER relaxed
#else
#define SEEN_ORDER release
#endif

#define SEQUENCE  0
#define SEEN      1
#define COMPLETED 2 /* the completion ring's position */
#define ADDRESSES 3

mtype = { relaxed, release };
byte memory[ADDRESSES];
byte state = 1; /* the state word, as its generation */
chan buffer = [8] of { byte, mtype, byte };

byte running;           /* the state under which the handler that is at work was started; 0: none is */
byte last[CHANGES + 2]; /* the last message whose handler was started under this state and has ended */
byte agreed;            /* the state that the worker is known to have seen */

#define STORE(address, order, value) buffer!address,order,value

proctype store_buffer()
{
	byte address, value;

end:
	do
	:: d_step {
		buffer?address,_,value ->
		memory[address] = value;
		address = 0;
		value = 0
	}
#if !defined(TSO) && defined(RELAXED_SEEN)
	:: d_step {
		buffer??SEEN,relaxed,value ->
		memory[SEEN] = value;
		value = 0
	}
#endif
	od
}

/* attachment_heartbeat() */
inline say_seen()
{
	seen = state;
	STORE(SEEN, SEEN_ORDER, seen)
}

/* One message: attachment_start(), attachment_state(), the handler, attachment_end(), attachment_publish(). */
inline handle(n)
{
	STORE(SEQUENCE, release, n);
#ifdef OLD_STATE
	word = (word == 0 -> state : word);
#else
	word = state;
#endif
	atomic {
		running = word;
		assert(word >= agreed)
	};
#ifdef EARLY_SEEN
	say_seen();
#endif
	atomic {
		last[running] = n;
		running = 0
	};
	STORE(SEQUENCE, relaxed, 0);
	STORE(COMPLETED, release, n)
}

/* consumer_run(). In the end it has nothing to do, and goes on saying what it sees. */
proctype worker()
{
	byte n, word, seen;

	do
	:: n < MESSAGES ->
		say_seen();
		n++;
		handle(n)
	:: n == MESSAGES && seen <= CHANGES -> say_seen()
	:: n == MESSAGES && seen == CHANGES + 1 -> break
	od
}

/* Who changes the state, and waits. */
proctype changer()
{
	byte older;

	do
	:: state <= CHANGES ->
		state++; /* control_change_state() */
		memory[SEEN] >= state; /* subscription_wait(): acquire */
		d_step {
			agreed = state;
			assert(running == 0 || running >= agreed);
			do
			:: older < agreed ->
				assert(memory[COMPLETED] >= last[older]);
				older++
			:: else -> break
			od;
			older = 0
		}
	:: else -> break
	od
}

init {
	atomic {
		run store_buffer();
		run worker();
		run changer()
	}
}
