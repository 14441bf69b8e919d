/* SPDX-License-Identifier: Apache-2.0
 *
 * The plan as it arrives: header, operations, pool. Little endian, written by casemate/runtime/plan.py.
 */
#ifndef PLAN_H
#define PLAN_H

#include "sys.h"

enum { PLAN_MAX_BYTES = 16 << 20, PLAN_MAX_OPS = 65536, PLAN_MAX_SLOTS = 2048, PLAN_ARGS = 6 };
enum program { BEFORE, BESIDE, INSIDE, AFTER, PROGRAMS, NO_PROGRAM = 255 };
enum mode { MODE_LEAVE, MODE_WAIT, MODE_KEEP };

enum opcode {
#define OP(number, name, kinds, where) OP_##name = number,
#include "ops.def"
#undef OP
	OP_END
};

struct plan_header {
	u8 magic[4];
	u32 version, size, op_offset, op_count, pool_offset, pool_size, n_fds, n_slots, reserved;
	struct { u32 first, count; } program[PROGRAMS];
	u64 clone_flags;
	i32 cgroup; /* slot for CLONE_INTO_CGROUP, or -1 */
	u32 mode;
	i32 lock, pidfile, exit_dir, log_dir, listen, out, err, client_out, client_err, stdin_w;
	u32 log_files;
	u32 durable; /* fsync the exit record */
	u64 log_max;
	u64 exit_argv;
};

struct op {
	u16 code, pad0;
	u32 pad1;
	u64 arg[PLAN_ARGS];
};

_Static_assert(sizeof(struct plan_header) == 152, "casemate/runtime/plan.py packs 152 bytes");
_Static_assert(sizeof(struct op) == 56, "casemate/runtime/plan.py packs 56 bytes");

struct plan {
	const struct plan_header *head;
	const struct op *ops;
	const u8 *pool;
};

/* What validation found: the first wrong operation, or the header when program is NO_PROGRAM. */
struct plan_fault { u32 program, op, check; };

/* 0 when every argument of every operation may be used without further checks, else -EINVAL with *fault set. */
int plan_validate(struct plan *plan, const void *bytes, size_t size, u32 received, struct plan_fault *fault);

/* Does an operation of this program use what the slot holds? */
int plan_uses(const struct plan *plan, u32 program, u64 slot);

static inline u32 pool_length(u64 arg) { return (u32)arg; }

static inline const void *pool_at(const struct plan *plan, u64 arg) { return plan->pool + (arg >> 32); }

/* The string of an s, t or n argument; NULL only for t. */
static inline const char *pool_string(const struct plan *plan, u64 arg)
{
	return arg ? (const char *)pool_at(plan, arg) : NULL;
}

#endif
