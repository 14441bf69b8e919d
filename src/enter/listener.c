/* SPDX-License-Identifier: Apache-2.0
 *
 * A seccomp filter whose verdicts an agent gives: the descriptor of its notifications goes to the agent before the
 * program runs.
 *
 * Once the filter is loaded, any system call of ours may wait for the agent, who does not have the descriptor yet. So a
 * thread that was born before, and is therefore not filtered, sends it, and we wait for the thread without a call. It
 * leaves no zombie, and exec ends whatever is left of it.
 */
#include "enter.h"

enum { UNKNOWN = -1, NONE = -2, PENDING = 1, STATE_MAX = 1 << 24, SECCOMP_FILTER = 1 };

#ifdef ENTER_HOSTED /* the fake kernel has no threads */
enum { TURNS = 8 };
#else
enum { TURNS = 1U << 31 }; /* a minute or two */
#endif

static struct { i32 socket, listener, result; const void *state; size_t length; } courier;
static u8 courier_stack[16384] __attribute__((aligned(16)));

static void rest(void)
{
#if defined(__x86_64__)
	__asm__ volatile("pause");
#else
	__asm__ volatile("yield");
#endif
}

static void carry(void *unused)
{
	i32 listener;

	(void)unused;
	while ((listener = __atomic_load_n(&courier.listener, __ATOMIC_ACQUIRE)) == UNKNOWN)
		sys(sched_yield);
	if (listener >= 0)
		__atomic_store_n(&courier.result, send_fd(courier.socket, listener, courier.state, courier.length),
				 __ATOMIC_RELEASE);
	for (;;)
		sys(exit, 0);
}

/* The container's state, as Python wrote it once it knew the pid. */
static int read_state(i32 file)
{
	struct statx info;
	long error = sys(statx, file, "", AT_EMPTY_PATH, STATX_SIZE, &info), at;

	if (error < 0)
		return (int)error;
	if (!info.stx_size || info.stx_size > STATE_MAX)
		return -EINVAL;
	at = sys(mmap, NULL, info.stx_size, 1 /* PROT_READ */, 2 /* MAP_PRIVATE */, file, 0);
	if ((u64)at > -4096UL)
		return (int)at;
	courier.state = (const void *)at;
	courier.length = info.stx_size;
	return 0;
}

int op_seccomp_notify(const struct op *op)
{
	const struct { u16 length; u16 pad[3]; const void *filter; } program = {
		.length = (u16)(pool_length(op->arg[0]) / 8), .filter = pool_at(&self.plan, op->arg[0]) };
	struct clone_args args = { .flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM,
				   .stack = (u64)courier_stack, .stack_size = sizeof(courier_stack) };
	int error = read_state(slot(op->arg[3]));
	long listener;

	if (error)
		return error;
	courier.socket = slot(op->arg[2]);
	courier.listener = UNKNOWN;
	courier.result = PENDING;
	listener = clone_vm(&args, sizeof(args), carry, NULL);
	if (listener < 0)
		return (int)listener;
	disarm();
	listener = sys(seccomp, SECCOMP_FILTER, op->arg[1] | SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
	__atomic_store_n(&courier.listener, listener < 0 ? NONE : (i32)listener, __ATOMIC_RELEASE);
	if (listener < 0)
		return (int)listener;
	for (u32 turn = 0; turn < TURNS; turn++) {
		error = __atomic_load_n(&courier.result, __ATOMIC_ACQUIRE);
		if (error <= 0)
			return error;
		rest();
	}
	return -ETIMEDOUT;
}
