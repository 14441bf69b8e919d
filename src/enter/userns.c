/* SPDX-License-Identifier: Apache-2.0
 *
 * User namespaces seen from outside: the child's maps, and namespaces made only to be named by idmapped mounts.
 */
#include "enter.h"

static u8 pause_stack[4096] __attribute__((aligned(16)));

/* "/proc/PID/NAME" in `path`. */
const char *proc_path(char path[64], i32 pid, const char *name)
{
	char digits[16], *end = digits + sizeof(digits), *first = decimal(end, (u64)pid);
	size_t length = 6;

	memcpy(path, "/proc/", 6);
	memcpy(path + length, first, (size_t)(end - first));
	length += (size_t)(end - first);
	path[length++] = '/';
	memcpy(path + length, name, strlen(name) + 1);
	return path;
}

static int write_proc(i32 pid, const char *name, const void *data, size_t length)
{
	char path[64];

	return write_at(AT_FDCWD, proc_path(path, pid, name), data, length);
}

int op_map_ids(const struct op *op)
{
	char digits[24], *end = digits + sizeof(digits), *first;
	u64 score = op->arg[3];
	int error = op->arg[2] ? write_proc(self.child, "setgroups", "deny", 4) : 0;

	if (!error && op->arg[0])
		error = write_proc(self.child, "uid_map", pool_at(&self.plan, op->arg[0]), pool_length(op->arg[0]));
	if (!error && op->arg[1])
		error = write_proc(self.child, "gid_map", pool_at(&self.plan, op->arg[1]), pool_length(op->arg[1]));
	if (!error && score != OOM_LEAVE) {
		first = decimal(end, (i64)score < 0 ? -score : score);
		if ((i64)score < 0)
			*--first = '-';
		error = write_proc(self.child, "oom_score_adj", first, (size_t)(end - first));
	}
	return error;
}

/* The process whose user namespace is wanted: it shares our memory and does nothing. */
static void wait_for_death(void *unused)
{
	(void)unused;
	sys(prctl, 1 /* PR_SET_PDEATHSIG */, SIGKILL_, 0, 0, 0);
	for (;;)
		sys(ppoll, NULL, 0, NULL, NULL, 0);
}

int op_userns(const struct op *op)
{
	i32 pidfd = -1;
	struct clone_args args = { .flags = CLONE_VM | CLONE_NEWUSER | CLONE_PIDFD, .pidfd = (u64)&pidfd, .exit_signal = 17,
				   .stack = (u64)pause_stack, .stack_size = sizeof(pause_stack) };
	long pid = clone_vm(&args, sizeof(args), wait_for_death, NULL), fd;
	char path[64];
	int error;

	if (pid < 0)
		return (int)pid;
	error = write_proc((i32)pid, "uid_map", pool_at(&self.plan, op->arg[1]), pool_length(op->arg[1]));
	if (!error)
		error = write_proc((i32)pid, "gid_map", pool_at(&self.plan, op->arg[2]), pool_length(op->arg[2]));
	if (!error) {
		fd = sys(openat, AT_FDCWD, proc_path(path, (i32)pid, "ns/user"), O_CLOEXEC, 0);
		error = fd < 0 ? (int)fd : 0;
		if (fd >= 0)
			set_slot(op->arg[0], (i32)fd);
	}
	sys(pidfd_send_signal, pidfd, SIGKILL_, NULL, 0);
	sys(wait4, pid, NULL, 0, NULL);
	sys(close, pidfd);
	return error;
}
