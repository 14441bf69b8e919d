/* SPDX-License-Identifier: Apache-2.0
 *
 * A hook: a program that starts as the child is at this moment, reads the container's state, and ends before the child
 * goes on. What it says and how it failed go to a descriptor that somebody on the host reads.
 */
#include "enter.h"

enum { SIGCHLD_ = 17, SIG_BLOCK_ = 0, SIG_SETMASK_ = 2, WNOHANG_ = 1, PR_SET_PDEATHSIG_ = 1, MFD_CLOEXEC_ = 1,
       F_DUPFD_CLOEXEC_ = 1030, CLOSE_RANGE_CLOEXEC_ = 4, CLOCK_MONOTONIC_ = 1, SECCOMP_FILTER_ = 1, WORDS = 1024,
       NO_SUCH_PROGRAM = 127 };

/* casemate/runtime/compile/hooks.py reads it; `text` is the hook's path, NUL, and what it wrote. */
struct report { i32 error, status; u32 timeout_ms, length; char text[WORDS]; };

struct timespec_ { i64 seconds, nanoseconds; };

static u64 now_ms(void)
{
	struct timespec_ now = { 0 };

	sys(clock_gettime, CLOCK_MONOTONIC_, &now);
	return (u64)now.seconds * 1000 + (u64)now.nanoseconds / 1000000;
}

/* A file in memory, above the standard descriptors. */
static i32 memory_file(void)
{
	long low = sys(memfd_create, "hook", MFD_CLOEXEC_), high = low;

	if (low >= 0) {
		high = sys(fcntl, low, F_DUPFD_CLOEXEC_, 3);
		sys(close, low);
	}
	return (i32)high;
}

/* The state; a NUL in it stands for our pid, which only we know as the container sees it. */
static i32 state_file(u64 item)
{
	const char *text = pool_at(&self.plan, item), *end = text + pool_length(item), *pid = text;
	char digits[24], *last = digits + sizeof(digits), *first = decimal(last, (u64)sys(getpid));
	i32 fd = memory_file();
	int error;

	if (fd < 0)
		return fd;
	while (pid < end && *pid)
		pid++;
	error = write_all(fd, text, (size_t)(pid - text));
	if (!error && pid < end)
		error = write_all(fd, first, (size_t)(last - first)) ?: write_all(fd, pid + 1, (size_t)(end - pid) - 1);
	sys(lseek, fd, 0, 0);
	if (error)
		sys(close, fd);
	return error ? error : fd;
}

static _Noreturn void become_hook(const struct op *op, i32 state, i32 words)
{
	const struct { u16 length; u16 pad[3]; const void *filter; } program = {
		.length = (u16)(pool_length(op->arg[5]) / 8), .filter = pool_at(&self.plan, op->arg[5]) };
	const char **argv = pointers(op->arg[0]), **envp = pointers(op->arg[1]);
	const u64 none = 0;
	long error = argv && envp ? 0 : -ENOMEM;

	sys(prctl, PR_SET_PDEATHSIG_, SIGKILL_, 0, 0, 0);
	sys(setsid);
	sys(close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC_); /* what the program inherits is not the hook's */
	sys(dup3, state, 0, 0);
	sys(dup3, words, 1, 0);
	sys(dup3, words, 2, 0);
	sys(rt_sigprocmask, SIG_SETMASK_, &none, NULL, sizeof(none));
	if (!error && op->arg[5])
		error = sys(seccomp, SECCOMP_FILTER_, 0, &program);
	if (!error)
		error = sys(execve, argv[0], argv + 1, envp);
	self.progress->slot = (u32)-error;
	leave(NO_SUCH_PROGRAM);
}

/* Its whole session ends with it: what it started is in its process group, or becomes ours when we are the first process. */
static void end_hook(i32 pid, i32 *status)
{
	sys(kill, -pid, SIGKILL_);
	while (sys(wait4, pid, status, 0, NULL) == -EINTR)
		;
	for (long got = 1; got > 0 || got == -EINTR;)
		got = sys(wait4, -pid, NULL, 0, NULL);
}

/* 0 when it has ended by itself. */
static int wait_hook(i32 pid, u64 timeout_ms, i32 *status)
{
	const u64 child = 1ULL << (SIGCHLD_ - 1), end = now_ms() + timeout_ms;

	for (;;) {
		long got = sys(wait4, pid, status, WNOHANG_, NULL);
		u64 now = timeout_ms ? now_ms() : 0, left = timeout_ms && end > now ? end - now : 0;
		const struct timespec_ span = { (i64)(left / 1000), (i64)(left % 1000) * 1000000 };
		i32 info[32];

		if (got == pid || (got < 0 && got != -EINTR))
			return got == pid ? 0 : (int)got;
		if (timeout_ms && !left) {
			end_hook(pid, status);
			return -ETIMEDOUT;
		}
		got = sys(rt_sigtimedwait, &child, info, timeout_ms ? &span : NULL, sizeof(child));
		if (got < 0 && got != -EINTR && got != -EAGAIN) { /* a filter of the container's own forbids it */
			end_hook(pid, status);
			return (int)got;
		}
	}
}

static void tell(const struct op *op, int error, i32 status, i32 words)
{
	const char *path = pool_at(&self.plan, op->arg[0]);
	size_t length = strlen(path) + 1;
	struct report report = { .error = -error, .status = status, .timeout_ms = (u32)op->arg[4] };
	long got;

	if (length > WORDS / 2)
		length = 0;
	memcpy(report.text, path, length);
	got = sys(pread64, words, report.text + length, WORDS - length, 0);
	report.length = (u32)(length + (got > 0 ? (size_t)got : 0));
	write_all(slot(op->arg[3]), &report, sizeof(report));
}

int op_hook(const struct op *op)
{
	const u64 child = 1ULL << (SIGCHLD_ - 1), none = 0;
	i32 state = state_file(op->arg[2]), words = memory_file(), status = 0;
	long pid = state < 0 ? state : words;
	int error;

	self.progress->slot = 0;
	sys(rt_sigprocmask, SIG_BLOCK_, &child, NULL, sizeof(child));
	if (pid >= 0)
		pid = sys(clone, SIGCHLD_, 0, 0, 0, 0);
	if (!pid)
		become_hook(op, state, words);
	error = pid < 0 ? (int)pid : wait_hook((i32)pid, op->arg[4], &status);
	sys(rt_sigprocmask, SIG_SETMASK_, &none, NULL, sizeof(none));
	if (!error && self.progress->slot)
		error = -(int)(self.progress->slot & 0xfff);
	if ((error || status) && op->arg[3] != ~0ULL)
		tell(op, error, status, words);
	sys(close, state);
	sys(close, words);
	return error ? error : status ? -ECANCELED : 0;
}
