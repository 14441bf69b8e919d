/* SPDX-License-Identifier: Apache-2.0
 *
 * A tiny init, for containers that ask for one: the first process does not become the program but bears it, passes
 * every signal on to it, reaps orphans, and ends as the program ends. It is confined like the program and holds no
 * descriptor.
 */
#include "enter.h"

enum { SIGCHLD_ = 17, SIG_SETMASK_ = 2, WNOHANG_ = 1, TIOCSPGRP_ = 0x5410, PR_SET_NAME_ = 15, DESCRIPTORS = PLAN_MAX_SLOTS + 64 };

static void let_go_of_everything(void)
{
	if (sys(close_range, 0, ~0U, 0) < 0) /* a container's own seccomp profile may forbid it */
		for (i32 fd = 0; fd < DESCRIPTORS; fd++)
			sys(close, fd);
}

/* Reap whoever has ended; when it was the program, end like it (128 + signal, as a shell tells it). */
static void reap(i32 program)
{
	for (;;) {
		i32 status = 0;
		long pid = sys(wait4, -1, &status, WNOHANG_, NULL);

		if (pid <= 0)
			return;
		if (pid == program)
			leave(status & 0x7f ? 128 + (status & 0x7f) : status >> 8 & 0xff);
	}
}

static _Noreturn void be_init(i32 program)
{
	const u64 all = ~0ULL;

	sys(prctl, PR_SET_NAME_, "init", 0, 0, 0);
	let_go_of_everything();
	for (;;) {
		i32 info[32] = { 0 };
		long signal;

		reap(program);
		signal = sys(rt_sigtimedwait, &all, info, NULL, sizeof(all));
		if (signal > 0 && signal != SIGCHLD_)
			sys(kill, program, signal);
	}
}

/* The program gets a process group of its own, in the foreground of its terminal if it has one. */
int op_init(void)
{
	const u64 all = ~0ULL, none = 0;
	long pid;
	i32 group;

	disarm();
	sys(rt_sigprocmask, SIG_SETMASK_, &all, NULL, sizeof(all));
	pid = sys(clone, SIGCHLD_, 0, 0, 0, 0);
	if (pid > 0)
		be_init((i32)pid);
	if (!pid) {
		group = (i32)sys(getpid);
		sys(setpgid, 0, 0);
		sys(ioctl, 0, TIOCSPGRP_, &group);
	}
	sys(rt_sigprocmask, SIG_SETMASK_, &none, NULL, sizeof(none));
	return pid < 0 ? (int)pid : 0;
}
