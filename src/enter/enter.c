/* SPDX-License-Identifier: Apache-2.0
 *
 * From start to running program:
 *
 *   receive and validate the plan -> before -> clone -> beside | child waits -> inside -> exec -> keep or leave
 *
 * Whatever fails, and whoever is killed, the child dies, `after` runs, and Python hears which operation it was.
 */
#include "enter.h"

enum { POLLIN_ = 1, SIG_SETMASK_ = 2, SIGNALS = 64, PR_SET_PDEATHSIG_ = 1, PR_SET_DUMPABLE_ = 4, SIGCHLD_ = 17,
       AF_UNIX_SEQPACKET = 5 | O_CLOEXEC };

struct enter self = { .control = CONTROL_FD, .sync = -1, .child_fd = -1, .pty = -1 };

/* The birth of the child: by us, or by a midwife that has joined the namespaces where it is to live. */
static struct { struct clone_args args; i32 ends[2]; long pid; } birth;
static u8 midwife_stack[65536] __attribute__((aligned(16)));

_Noreturn void leave(i32 code)
{
	for (;;)
		sys(exit_group, code);
}

/* Nothing that reaches us from a terminal or a dying peer may end us; the child starts with a clean slate. */
static void reset_signals(void)
{
	const u64 action[4] = { 0 }, all = ~0ULL;

	for (u32 i = 1; i <= SIGNALS; i++)
		sys(rt_sigaction, i, action, NULL, sizeof(all));
	sys(rt_sigprocmask, SIG_SETMASK_, &all, NULL, sizeof(all));
}

/* Before there is a plan. */
static _Noreturn void give_up(long error)
{
	say(MSG_FAIL, 0, (i32)-error, NO_PROGRAM, 0);
	leave(1);
}

/* What else the caller left open must not reach a program, and neither must the control channel. */
static void close_all_but_control(void)
{
	long error = sys(close_range, CONTROL_FD + 1, ~0U, 0);

	if (error >= 0)
		error = sys(fcntl, CONTROL_FD, 2 /* F_SETFD */, 1 /* FD_CLOEXEC */);
	if (error < 0)
		give_up(error);
}

static void know_yourself(void)
{
	struct statx info;
	long error = sys(statx, AT_FDCWD, "/proc/self/exe", 0, STATX_INO, &info);

	if (error < 0) /* FIND_EXEC could not refuse us */
		give_up(error);
	self.own_ino = info.stx_ino;
	self.own_dev = (u64)info.stx_dev_major << 32 | info.stx_dev_minor;
}

/* Leave nothing: the child is dead, `after` has run, Python knows. `detail` is a signal << 32, or a slot. */
_Noreturn void finish_failed(u32 program, u32 op, i32 error, u64 detail)
{
	kill_child();
	reap_child();
	run_program(AFTER, &self.after_op);
	say(MSG_FAIL, op, error, program, detail);
	finish(0);
}

/* ---- the child */

static _Noreturn void child_failed(int error)
{
	self.progress->error = -error;
	self.progress->state = CHILD_FAILED;
	leave(1);
}

static _Noreturn void run_child(void)
{
	const u64 none = 0;
	char what;
	i32 fd;
	u32 index = 0;
	int error;

	self.child_fd = -1;
	self.armed = 1;
	error = (int)sys(prctl, PR_SET_PDEATHSIG_, SIGKILL_, 0, 0, 0);
	sys(rt_sigprocmask, SIG_SETMASK_, &none, NULL, sizeof(none));
	if (sync_receive(&what, &fd, 0) <= 0)
		leave(1);
	self.released = what == 'D';
	if (error >= 0) /* not earlier: root alone may map the ids of who is not dumpable */
		error = (int)sys(prctl, PR_SET_DUMPABLE_, 0, 0, 0, 0);
	if (error >= 0)
		error = run_program(INSIDE, &index);
	child_failed(error ? error : -ENOEXEC);
}

/* ---- the parent */

static void give_birth(void)
{
	birth.pid = sys(clone3, &birth.args, sizeof(birth.args));
	if (!birth.pid) {
		sys(close, birth.ends[0]);
		self.sync = birth.ends[1];
		run_child();
	}
}

/* Joins what its parent must not be in, and bears a sibling: the child's parent is ours (CLONE_PARENT). */
static void midwife(void *unused)
{
	long error = sys(setns, slot((u64)self.birth_slot), self.birth_types);

	(void)unused;
	birth.args.flags |= CLONE_PARENT;
	birth.args.exit_signal = 0;
	if (error < 0)
		birth.pid = error;
	else
		give_birth();
	leave(0);
}

/* Who joins a container's pid namespace dies with it, and is seen in it: neither may happen to a keeper. */
static void give_birth_elsewhere(void)
{
	struct clone_args args = { .flags = CLONE_VM | CLONE_FILES, .exit_signal = SIGCHLD_,
				   .stack = (u64)midwife_stack, .stack_size = sizeof(midwife_stack) };
	long pid;

	birth.pid = -ECHILD; /* if it is killed */
	pid = clone_vm(&args, sizeof(args), midwife, NULL);
	if (pid < 0)
		birth.pid = pid;
	while (pid > 0 && sys(wait4, pid, NULL, 0, NULL) == -EINTR)
		;
}

static void start_child(void)
{
	const struct plan_header *head = self.plan.head;
	long pid = sys(socketpair, 1 /* AF_UNIX */, AF_UNIX_SEQPACKET, 0, birth.ends), page;

	birth.args = (struct clone_args){ .flags = head->clone_flags | CLONE_PIDFD, .pidfd = (u64)&self.child_fd,
					  .exit_signal = SIGCHLD_ };
	page = sys(mmap, NULL, 4096, 3 /* READ|WRITE */, 0x21 /* SHARED|ANONYMOUS */, -1, 0);
	if (pid < 0 || (u64)page > -4096UL)
		finish_failed(NO_PROGRAM, 0, pid < 0 ? (i32)-pid : ENOMEM, 0);
	self.progress = (struct progress *)page;
	if (head->cgroup >= 0) {
		birth.args.flags |= CLONE_INTO_CGROUP;
		birth.args.cgroup = (u64)slot((u64)head->cgroup);
	}
	if (!self.birth_types)
		give_birth();
	else
		give_birth_elsewhere();
	sys(close, birth.ends[1]);
	self.sync = birth.ends[0];
	if (birth.pid < 0)
		finish_failed(self.birth_types ? BEFORE : NO_PROGRAM, self.birth_op, (i32)-birth.pid, 0);
	self.child = (i32)birth.pid;
}

static void write_pidfile(void)
{
	char digits[16], *end = digits + sizeof(digits), *first = decimal(end, (u64)self.child);

	if (self.plan.head->pidfile >= 0)
		write_all(slot((u64)self.plan.head->pidfile), first, (size_t)(end - first));
}

/* The channel to the child has closed. */
_Noreturn void child_closed(void)
{
	struct progress *progress = self.progress;
	i32 status;

	if (progress->state == CHILD_EXEC) {
		if (self.plan.head->mode != MODE_LEAVE)
			keep();
		say(MSG_EXECED, 0, self.child, 0, 0);
		leave(0);
	}
	status = reap_child();
	self.child_fd = -1;
	if (progress->state == CHILD_FAILED)
		finish_failed(INSIDE, progress->op, progress->error, 0);
	finish_failed(INSIDE, progress->op, EINTR, (u64)(status & 0x7f) << 32);
}

static void child_says(char what, i32 fd)
{
	if (what == 'K' && fd >= 0)
		streams_add_pty(fd);
	if (what == 'L') {
		say(MSG_REPORT, REPORT_CREATED, 0, 0, 0);
		leave(0);
	}
}

static void watch_setup(void)
{
	for (;;) {
		struct pollfd set[2] = { { self.sync, POLLIN_, 0 }, { self.control, 0, 0 } };
		char what = 0;
		i32 fd;

		if (sys(ppoll, set, 2, NULL, NULL, 8) < 0)
			continue;
		if (set[0].revents) {
			if (sync_receive(&what, &fd, 0) > 0)
				child_says(what, fd);
			else
				child_closed();
		} else if (set[1].revents) { /* Python is gone */
			finish_failed(NO_PROGRAM, 0, ECANCELED, 0);
		}
	}
}

static void run_container(void)
{
	u32 index = 0;
	int error;

	self.phase = PHASE_SETUP;
	start_child();
	write_pidfile();
	say(MSG_CHILD, (u32)sys(getpid), self.child, 0, 0);
	error = run_program(BESIDE, &index);
	if (error)
		finish_failed(BESIDE, index, -error, 0);
	error = sync_send('D', -1);
	if (error < 0 && error != -EPIPE && error != -ECONNRESET) /* then the child has ended, and says why */
		finish_failed(NO_PROGRAM, 0, -error, 0);
	watch_setup();
}

static int maps_ids(void)
{
	const struct plan_header *head = self.plan.head;

	return (head->clone_flags & CLONE_NEWUSER) != 0;
}

void enter_main(void)
{
	u32 index = 0;
	int error;

	close_all_but_control();
	reset_signals();
	streams_init();
	know_yourself();
	sys(chdir, "/");
	error = receive_plan();
	if (error)
		leave(1);
	if (!maps_ids()) /* we, and so our child, may become visible in somebody else's container */
		error = (int)sys(prctl, PR_SET_DUMPABLE_, 0, 0, 0, 0);
	if (error < 0)
		give_up(error);
	error = run_program(BEFORE, &index);
	if (error)
		finish_failed(BEFORE, index, -error, 0);
	if (self.plan.head->mode == MODE_KEEP)
		run_in_keeper(run_container);
	else
		run_container();
	leave(0);
}
