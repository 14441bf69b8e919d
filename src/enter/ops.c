/* SPDX-License-Identifier: Apache-2.0
 *
 * Running a program: slots, dispatch, and the operations that belong to parent and child alike.
 */
#include "enter.h"

enum { EBUSY_TRIES = 2000, AT_REMOVEDIR_ = 0x200 };

i32 slot(u64 number) { return number == ~0ULL ? AT_FDCWD : self.slots[number]; }

/* Take ownership of `fd`; what the slot held before is closed. */
void set_slot(u64 number, i32 fd)
{
	if (self.slots[number] >= 0)
		sys(close, self.slots[number]);
	self.slots[number] = fd;
}

char *decimal(char *end, u64 number)
{
	do
		*--end = (char)('0' + number % 10);
	while (number /= 10);
	return end;
}

int write_all(i32 fd, const void *data, size_t length)
{
	const u8 *from = data;

	while (length) {
		long wrote = sys(write, fd, from, length);

		if (wrote == -EINTR)
			continue;
		if (wrote <= 0)
			return wrote ? (int)wrote : -EIO;
		from += wrote;
		length -= (size_t)wrote;
	}
	return 0;
}

int write_at(i32 dir, const char *path, const void *data, size_t length)
{
	i32 fd = (i32)sys(openat, dir, path, O_WRONLY | O_CLOEXEC, 0);
	int error = fd;

	if (fd >= 0) { /* one write: procfs takes a value whole or not at all */
		long wrote = sys(write, fd, data, length);

		error = wrote < 0 ? (int)wrote : (size_t)wrote == length ? 0 : -EIO;
		sys(close, fd);
	}
	return error;
}

/* cgroup directories are busy until the kernel has buried the last process. */
static int op_unlink(const struct op *op)
{
	const char *name = pool_string(&self.plan, op->arg[1]);
	const struct { i64 seconds, nanoseconds; } pause = { 0, 1000000 };
	long error;

	for (u32 try = 0; try < EBUSY_TRIES; try++) {
		error = sys(unlinkat, slot(op->arg[0]), name, op->arg[2]);
		if (error != -EBUSY || self.program != AFTER)
			break;
		sys(nanosleep, &pause, NULL);
	}
	return error == -ENOENT ? 0 : (int)error;
}

static int op_join_cgroup(const struct op *op)
{
	char text[24], *end = text + sizeof(text);
	char *first = decimal(end, self.program == BESIDE ? (u64)self.child : 0);
	long wrote = sys(write, slot(op->arg[0]), first, end - first);

	return wrote < 0 ? (int)wrote : 0;
}

static int op_report(u32 code)
{
	if (self.program == INSIDE && self.plan.head->mode == MODE_LEAVE && code == REPORT_CREATED) {
		char what;
		i32 fd;

		disarm();
		if (sync_send('L', -1) < 0)
			return -ECANCELED;
		while (sync_receive(&what, &fd, 0) > 0) /* until the parent is gone, and we belong to someone else */
			;
		sys(close, self.control);
		self.control = -1;
		return 0;
	}
	return self.control < 0 ? 0 : say(MSG_REPORT, code, 0, 0, 0);
}

static int op_barrier(void)
{
	char what = 0;
	i32 fd;

	while (!self.released)
		if (sync_receive(&what, &fd, 0) <= 0)
			return -ECANCELED;
		else
			self.released = what == 'D';
	return 0;
}

int run_op(const struct op *op)
{
	const struct plan *plan = &self.plan;

	switch (op->code) {
	case OP_REPORT:
		return op_report((u32)op->arg[0]);
	case OP_ASK:
		return self.control < 0 ? -ECANCELED : ask((u32)op->arg[0]);
	case OP_RELEASE:
		return sync_send('G', -1);
	case OP_BARRIER:
		return op_barrier();
	case OP_JOIN_CGROUP:
		return op_join_cgroup(op);
	case OP_UNLINKAT:
		return op_unlink(op);
	case OP_COLLECT:
		record_collect(slot(op->arg[0]), pool_string(plan, op->arg[1]));
		return 0;
	case OP_CLOSE:
		set_slot(op->arg[0], -1);
		return 0;
	case OP_SEND_FD:
		return send_fd(slot(op->arg[0]), slot(op->arg[1]), pool_string(plan, op->arg[2]),
			       pool_length(op->arg[2]) - 1);
	case OP_KEEP_FD:
		return send_fd(self.sync, slot(op->arg[0]), "K", 1);
	case OP_MAP_IDS:
		return op_map_ids(op);
	case OP_USERNS:
		return op_userns(op);
	case OP_COPY_UP:
		return op_copy_up(op);
	case OP_HOOK:
		return op_hook(op);
	default: {
		int error = op_files(op);

		return error == NOT_HERE ? op_identity(op) : error;
	}
	}
}

/* Operations after which the kernel has forgotten the parent-death signal: their new credentials. */
static int changes_credentials(u16 code)
{
	return code == OP_SETNS || code == OP_UNSHARE || code == OP_GID || code == OP_UID || code == OP_CAPS;
}

int run_program(u32 program, u32 *index)
{
	const struct op *ops = self.plan.ops + self.plan.head->program[program].first;
	u32 count = self.plan.head->program[program].count;

	self.program = program;
	for (; *index < count; ++*index) {
		int error;

		if (program == INSIDE)
			self.progress->op = *index;
		error = run_op(ops + *index);
		if (error >= 0 && self.armed && changes_credentials(ops[*index].code))
			error = (int)sys(prctl, 1 /* PR_SET_PDEATHSIG */, SIGKILL_, 0, 0, 0);
		if (error < 0 && program != AFTER)
			return error;
	}
	return 0;
}
