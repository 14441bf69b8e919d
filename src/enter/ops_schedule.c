/* SPDX-License-Identifier: Apache-2.0
 *
 * Operations on how the kernel serves a process: processors, input and output, memory nodes, execution domain.
 */
#include "enter.h"

enum { IOPRIO_WHO_PROCESS_ = 1 };

/* Beside, the parent acts on the waiting child: it still has the rights that a new user namespace takes away. */
static i32 subject(void) { return self.program == BESIDE ? self.child : 0; }

int op_schedule(const struct op *op)
{
	const u64 *arg = op->arg;
	const void *bytes = pool_at(&self.plan, arg[0]);
	long result;

	switch (op->code) {
	case OP_SCHEDULER:
		return (int)sys(sched_setattr, subject(), bytes, 0);
	case OP_IO_PRIORITY:
		return (int)sys(ioprio_set, IOPRIO_WHO_PROCESS_, subject(), arg[0]);
	case OP_AFFINITY:
		return (int)sys(sched_setaffinity, subject(), pool_length(arg[0]), bytes);
	case OP_MEMORY_POLICY: /* one more than there are bits: get_nodes() in mm/mempolicy.c takes one away */
		return (int)sys(set_mempolicy, arg[1], pool_length(arg[0]) ? bytes : NULL,
				pool_length(arg[0]) ? pool_length(arg[0]) * 8 + 1 : 0);
	case OP_PERSONALITY:
		result = sys(personality, arg[0]);
		return result < 0 ? (int)result : 0;
	default:
		return -ENOSYS;
	}
}
