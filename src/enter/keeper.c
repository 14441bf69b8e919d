/* SPDX-License-Identifier: Apache-2.0
 *
 * Keeping: after the program runs, somebody has to move its output, serve attaching clients and record its end.
 *
 * In mode KEEP that is a pair of processes which share memory and descriptors. The keeper is the parent of the
 * container and does the work; the guard, a subreaper and the keeper's parent, sleeps. When one of them is killed, the
 * other one makes itself the keeper and starts a new guard: nothing was only in the head of the dead one.
 */
#include "enter.h"

enum { POLLIN_ = 1, PR_SET_NAME_ = 15, PR_SET_CHILD_SUBREAPER_ = 36, SIGCHLD_ = 17, WNOHANG_ = 1, P_ALL_ = 0,
       LOOK = 0x01000005 /* WEXITED | WNOHANG | WNOWAIT */, STACK = 131072, LINGER_TRIES = 20, LINGER_MS = 100, STATUS_TRIES = 200 };

static u8 stacks[2][STACK] __attribute__((aligned(16)));

/* The pair: pidfds of both, and whose stack is whose. */
static struct { i32 keeper_fd, guard_fd, reaper; u32 keeper_stack; void (*run)(void); } pair = { -1, -1, -1, 0, NULL };

static void guard(void *unused);
static void make_guard(void);

static long make_partner(void (*run)(void *), u32 stack, i32 *pidfd)
{
	struct clone_args args = { .flags = CLONE_VM | CLONE_FILES | CLONE_PIDFD, .pidfd = (u64)pidfd, .exit_signal = SIGCHLD_,
				   .stack = (u64)stacks[stack], .stack_size = STACK };

	return clone_vm(&args, sizeof(args), run, NULL);
}

/* ---- the child's end */

void kill_child(void)
{
	if (self.child_fd >= 0)
		sys(pidfd_send_signal, self.child_fd, SIGKILL_, NULL, 0);
}

/* The status of a zombie that somebody else ought to reap and does not: the last field of its stat. */
static int status_from_proc(i32 *status)
{
	char path[64], text[1024];
	long fd = sys(openat, AT_FDCWD, proc_path(path, self.child, "stat"), O_CLOEXEC, 0);
	long length = fd < 0 ? fd : sys(read, fd, text, sizeof(text)), at, state = -1;
	u32 place = 1, number = 0;

	sys(close, fd);
	for (at = 0; at < length - 2; at++)
		if (text[at] == ')')
			state = at + 2;
	if (state < 0 || text[state] != 'Z')
		return -ECHILD;
	for (at = length - 2; at > state && text[at] >= '0' && text[at] <= '9'; at--, place *= 10)
		number += (u32)(text[at] - '0') * place;
	*status = (i32)number;
	return 0;
}

/* The status of a child that is no longer ours, because our predecessor was killed: once it is reaped, Linux 6.15. */
static int status_from_pidfd(i32 *status)
{
	struct { u64 mask, cgroup; u32 ids[11]; i32 exit_code; } info;
	const struct { i64 seconds, nanoseconds; } pause = { 0, 10000000 };

	for (u32 try = 0; try < STATUS_TRIES; try++) {
		info.mask = 8; /* PIDFD_INFO_EXIT */
		if (sys(ioctl, self.child_fd, 0xC040FF0B /* PIDFD_GET_INFO */, &info) == 0 && info.mask & 8) {
			*status = info.exit_code;
			return 0;
		}
		if (!status_from_proc(status))
			return 0;
		sys(nanosleep, &pause, NULL);
	}
	return -ECHILD;
}

i32 reap_child(void)
{
	i32 status = 0;
	long got;

	if (self.child_fd < 0)
		return 0;
	do
		got = sys(wait4, self.child, &status, 0, NULL);
	while (got == -EINTR);
	if (got < 0 && status_from_pidfd(&status) < 0) {
		status = 255 << 8;
		self.lost = 1;
	}
	return status;
}

/* Orphans of a container without its own pid namespace come to the subreaper. */
static void reap_orphans(void)
{
	for (;;) {
		i32 info[32] = { 0 }; /* siginfo: si_pid is its fourth word */

		if (sys(waitid, P_ALL_, 0, info, LOOK, NULL) < 0 || !info[3] || info[3] == self.child ||
		    sys(wait4, info[3], NULL, WNOHANG_, NULL) <= 0)
			return;
	}
}

static void drain_signals(void)
{
	u8 info[128];

	while (sys(read, pair.reaper, info, sizeof(info)) > 0)
		;
}

/* ---- the loop */

static void wait_for_output(void)
{
	struct pollfd set[POLL_MAX];
	i32 timeout_ms = -1;
	u32 outputs = streams_poll(set, &timeout_ms), count = outputs;
	const u32 child = count++, partner = count++, control = count++, listener = count++;
	struct { i64 seconds, nanoseconds; } timeout;

	set[child] = (struct pollfd){ self.phase == PHASE_RUN ? self.child_fd : -1, POLLIN_, 0 };
	set[partner] = (struct pollfd){ pair.guard_fd, POLLIN_, 0 };
	set[control] = (struct pollfd){ self.control, 0, 0 };
	set[listener] = (struct pollfd){ self.phase == PHASE_RUN && self.plan.head->listen >= 0 ?
					 slot((u64)self.plan.head->listen) : -1, POLLIN_, 0 };
	if (self.phase != PHASE_RUN && timeout_ms < 0)
		timeout_ms = LINGER_MS;
	timeout.seconds = timeout_ms / 1000;
	timeout.nanoseconds = timeout_ms % 1000 * 1000000L;
	if (sys(ppoll, set, count, timeout_ms < 0 ? NULL : &timeout, NULL, 8) < 0)
		return;
	if (set[partner].revents)
		make_guard();
	if (set[control].revents) { /* nobody waits for us any more: the container no longer waits for anybody */
		streams_drop_launcher();
		sys(close, self.control);
		self.control = -1;
	}
	if (set[listener].revents)
		viewers_accept(set[listener].fd);
	streams_pump(set);
	if (set[child].revents)
		self.phase = PHASE_ENDED;
}

static _Noreturn void keeper_loop(void)
{
	u32 linger = 0;
	int waiting;

	streams_pump(NULL); /* finishes what a killed predecessor was doing */
	while (self.phase == PHASE_RUN)
		wait_for_output();
	if (self.phase == PHASE_ENDED) {
		if (!self.reaped) {
			self.status = reap_child();
			self.reaped = 1;
		}
		streams_pump(NULL);
		run_program(AFTER, &self.after_op);
		record_write(self.status, streams_dropped());
		self.phase = PHASE_RECORDED;
	}
	while ((waiting = streams_pending()) & 2 || (waiting && linger++ < LINGER_TRIES))
		wait_for_output();
	if (self.control >= 0)
		say(MSG_EXIT, 0, self.status, 0, 0);
	finish(1);
}

/* ---- the pair */

/* The guard's whole life: to wait for the end of the keeper, and to be the keeper then. */
static void guard(void *unused)
{
	(void)unused;
	sys(prctl, PR_SET_NAME_, "enter-guard", 0, 0, 0);
	for (;;) {
		struct pollfd set[2] = { { pair.keeper_fd, POLLIN_, 0 }, { pair.reaper, POLLIN_, 0 } };

		if (sys(ppoll, set, 2, NULL, NULL, 8) < 0)
			continue;
		if (set[1].revents) {
			drain_signals();
			reap_orphans();
		}
		if (set[0].revents)
			break;
	}
	if (self.phase == PHASE_DONE)
		leave(0);
	sys(prctl, PR_SET_NAME_, "enter-keeper", 0, 0, 0);
	sys(close, pair.keeper_fd);
	pair.keeper_fd = pair.guard_fd;
	pair.guard_fd = -1;
	pair.keeper_stack = !pair.keeper_stack;
	make_guard();
	if (self.phase < PHASE_RUN && self.progress && self.progress->state == CHILD_EXEC)
		child_closed();
	if (self.phase < PHASE_RUN) /* killed while it was starting the container: nothing may be left of it */
		finish_failed(NO_PROGRAM, 0, EOWNERDEAD, 0);
	keeper_loop();
}

/* Whoever works makes sure that somebody watches. */
static void make_guard(void)
{
	if (pair.guard_fd >= 0)
		sys(close, pair.guard_fd);
	pair.guard_fd = -1;
	make_partner(guard, !pair.keeper_stack, &pair.guard_fd);
}

static void keeper(void *unused)
{
	(void)unused;
	sys(prctl, PR_SET_NAME_, "enter-keeper", 0, 0, 0);
	pair.run();
}

static void first_guard(void *unused)
{
	const u64 mask = 1ULL << (SIGCHLD_ - 1);

	sys(setsid);
	sys(prctl, PR_SET_CHILD_SUBREAPER_, 1, 0, 0, 0);
	pair.reaper = (i32)sys(signalfd4, -1, &mask, sizeof(mask), O_CLOEXEC | O_NONBLOCK);
	pair.keeper_stack = 1;
	if (make_partner(keeper, 1, &pair.keeper_fd) < 0) {
		pair.guard_fd = -1;
		finish_failed(NO_PROGRAM, 0, EAGAIN, 0);
	}
	guard(unused);
}

void run_in_keeper(void (*run)(void))
{
	long error;

	pair.run = run;
	error = make_partner(first_guard, 0, &pair.guard_fd);
	if (error < 0)
		finish_failed(NO_PROGRAM, 0, (i32)-error, 0);
}

/* ---- beginning and end */

static int is_kept(i32 number)
{
	const struct plan_header *head = self.plan.head;

	return number == head->lock || number == head->exit_dir || number == head->log_dir || number == head->listen ||
	       number == head->out || number == head->err || number == head->client_out || number == head->client_err ||
	       number == head->stdin_w || plan_uses(&self.plan, AFTER, (u64)number);
}

_Noreturn void keep(void)
{
	for (u32 i = 0; i < self.plan.head->n_slots; i++)
		if (self.slots[i] >= 0 && !is_kept((i32)i))
			set_slot(i, -1);
	if (self.sync >= 0)
		sys(close, self.sync);
	self.sync = -1;
	streams_start();
	if (self.plan.head->listen >= 0) /* accept must not block when a client has gone again */
		sys(fcntl, slot((u64)self.plan.head->listen), 4 /* F_SETFL */, 2 | O_NONBLOCK);
	record_reserve();
	say(MSG_EXECED, 0, self.child, 0, 0);
	self.phase = PHASE_RUN;
	keeper_loop();
}

/* The guard goes first: the lock must be free when the last program runs. */
static void dismiss_guard(void)
{
	struct pollfd set = { pair.guard_fd, POLLIN_, 0 };

	self.phase = PHASE_DONE;
	if (pair.guard_fd < 0)
		return;
	sys(pidfd_send_signal, pair.guard_fd, SIGKILL_, NULL, 0);
	sys(ppoll, &set, 1, NULL, NULL, 8);
}

_Noreturn void finish(int ran)
{
	const u64 none = 0;

	dismiss_guard();
	if (ran && self.plan.head->exit_argv) {
		static const char *const environment[] = {
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL };
		const char **argv = pointers(self.plan.head->exit_argv);

		sys(rt_sigprocmask, 2 /* SIG_SETMASK */, &none, NULL, sizeof(none));
		if (argv && argv[0])
			sys(execve, argv[0], argv, environment);
	}
	leave(0);
}
