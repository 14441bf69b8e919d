/* SPDX-License-Identifier: Apache-2.0
 *
 * Validation: after plan_validate has returned 0, no operation reads outside the plan, uses a slot that nothing has
 * filled, or stands in a program where it makes no sense. The plan comes from our own Python; this is the second
 * look, and the fuzzer's target.
 */
#include "enter.h"

/* The reasons for refusal, as `check` in the report. */
enum check { SIZE = 1, MAGIC, LAYOUT, COUNTS, PROGRAM_RANGE, KEEPER, OPCODE, PLACE, SLOT, STRING, BYTES, VECTOR, UNUSED,
	     SPECIAL };

enum { SCHED_ATTR_LEAST = 48, SCHED_ATTR_MOST = 56, BITS_MOST = 1024 };

enum { P = 1 << BEFORE, B = 1 << BESIDE, I = 1 << INSIDE, A = 1 << AFTER };

static const struct { u8 where; char kinds[PLAN_ARGS + 1]; } table[OP_END] = {
#define OP(number, name, kinds, where) [number] = { where, kinds },
#include "ops.def"
#undef OP
};

typedef u64 slot_set[PLAN_MAX_SLOTS / 64];

static int has_slot(const slot_set set, u64 slot) { return (set[slot / 64] >> (slot % 64)) & 1; }

static void put_slot(slot_set set, u64 slot) { set[slot / 64] |= 1ULL << (slot % 64); }

static void drop_slot(slot_set set, u64 slot) { set[slot / 64] &= ~(1ULL << (slot % 64)); }

static int in_pool(const struct plan *plan, u64 arg)
{
	return (arg >> 32) + (u64)(u32)arg <= plan->head->pool_size;
}

/* NUL at the end and nowhere else. */
static int is_string(const struct plan *plan, u64 arg)
{
	u32 length = pool_length(arg);
	const char *text = pool_at(plan, arg);

	if (!in_pool(plan, arg) || !length)
		return 0;
	for (u32 i = 0; i < length - 1; i++)
		if (!text[i])
			return 0;
	return !text[length - 1];
}

static int is_component(const struct plan *plan, u64 arg)
{
	const char *text = pool_at(plan, arg);

	if (!is_string(plan, arg) || !text[0] || (text[0] == '.' && (!text[1] || (text[1] == '.' && !text[2]))))
		return 0;
	for (; *text; text++)
		if (*text == '/')
			return 0;
	return 1;
}

static u32 count_strings(const struct plan *plan, u64 arg)
{
	const char *text = pool_at(plan, arg);
	u32 count = 0;

	for (u32 i = 0; i < pool_length(arg); i++)
		count += !text[i];
	return count;
}

static int is_vector(const struct plan *plan, u64 arg)
{
	u32 length = pool_length(arg);
	const char *text = pool_at(plan, arg);

	if (!in_pool(plan, arg) || (length && text[length - 1]))
		return 0;
	return count_strings(plan, arg) <= VECTOR_MAX;
}

/* Check one argument against its kind, and move the set of filled slots along. 0 or the failed check. */
static enum check check_argument(const struct plan *plan, char kind, u64 arg, slot_set filled)
{
	switch (kind) {
	case 'g':
		if (arg == ~0ULL)
			return 0;
		/* fall through */
	case 'f':
		return arg < plan->head->n_slots && has_slot(filled, arg) ? 0 : SLOT;
	case 'o':
		if (arg >= plan->head->n_slots || arg < plan->head->n_fds)
			return SLOT;
		put_slot(filled, arg);
		return 0;
	case 't':
		if (!arg)
			return 0;
		/* fall through */
	case 's':
		return is_string(plan, arg) ? 0 : STRING;
	case 'n':
		return is_component(plan, arg) ? 0 : STRING;
	case 'b':
	case 'c':
		return in_pool(plan, arg) ? 0 : BYTES;
	case 'v':
		return is_vector(plan, arg) ? 0 : VECTOR;
	default:
		return 0;
	}
}

/* What the kinds cannot say about single operations. */
static int special_rules(const struct plan *plan, const struct op *op, u32 program, u32 index)
{
	const struct plan_header *head = plan->head;
	u32 length = pool_length(op->arg[0]);

	switch (op->code) {
	case OP_STDIO:
		return op->arg[1] <= 2;
	case OP_INHERIT:
		return op->arg[1] > 2 && op->arg[1] < PLAN_MAX_SLOTS;
	case OP_FSCONFIG: /* a string value ends with NUL */
		return op->arg[1] != FSCONFIG_SET_STRING ||
		       (op->arg[3] && is_string(plan, op->arg[3]));
	case OP_GROUPS:
		return length % sizeof(u32) == 0;
	case OP_SECCOMP:
	case OP_SECCOMP_NOTIFY:
		return length % 8 == 0 && length / 8 - 1 < 65535;
	case OP_CHILD_NS:
		return op->arg[1] && !(op->arg[1] & ~((u64)CLONE_NEWPID | CLONE_NEWUSER));
	case OP_KEEP_FD:
		return head->mode != MODE_LEAVE && op->arg[1] == KEEP_PTY;
	case OP_CAP_BOUNDING:
	case OP_CAP_AMBIENT:
		return 1;
	case OP_SCHEDULER: { /* the kernel reads as much as the structure says of itself */
		u32 said = 0;

		if (length >= sizeof(said))
			memcpy(&said, pool_at(plan, op->arg[0]), sizeof(said));
		return length >= SCHED_ATTR_LEAST && length <= SCHED_ATTR_MOST && said == length;
	}
	case OP_AFFINITY:
		return length && length % 8 == 0 && length <= BITS_MOST;
	case OP_MEMORY_POLICY:
		return length % 8 == 0 && length <= BITS_MOST;
	case OP_FIND_EXEC:
		return length > 1;
	case OP_HOOK: { /* a path and an argv[0] */
		u32 filter = pool_length(op->arg[5]);

		return count_strings(plan, op->arg[0]) > 1 && op->arg[4] <= 0xffffffff &&
		       (!op->arg[5] || (filter % 8 == 0 && filter / 8 - 1 < 65535));
	}
	case OP_EXEC: /* is the end, and has an argv[0] */
		return index == head->program[program].count - 1 && length > 1;
	default:
		return 1;
	}
}

static enum check check_op(const struct plan *plan, u32 program, u32 index, slot_set filled)
{
	const struct op *op = plan->ops + plan->head->program[program].first + index;
	const char *kinds;
	u32 i;

	if (!op->code || op->code >= OP_END || !table[op->code].where || op->pad0 || op->pad1)
		return OPCODE;
	if (!(table[op->code].where & 1 << program))
		return PLACE;
	kinds = table[op->code].kinds;
	for (u32 output = 0; output < 2; output++) /* last: no operation reads what it is about to fill */
		for (i = 0; kinds[i]; i++) {
			enum check check = (kinds[i] == 'o') == output ? check_argument(plan, kinds[i], op->arg[i], filled) : 0;

			if (check)
				return check;
		}
	for (; i < PLAN_ARGS; i++)
		if (op->arg[i])
			return UNUSED;
	if (op->code == OP_CLOSE)
		drop_slot(filled, op->arg[0]);
	return special_rules(plan, op, program, index) ? 0 : SPECIAL;
}

static enum check check_program(const struct plan *plan, u32 program, slot_set filled, struct plan_fault *fault)
{
	fault->program = program;
	for (fault->op = 0; fault->op < plan->head->program[program].count; fault->op++) {
		enum check check = check_op(plan, program, fault->op, filled);

		if (check)
			return check;
	}
	return 0;
}

/* The descriptors that the keeper uses are there once `before` has run. */
static int keeper_slots_filled(const struct plan_header *head, const slot_set filled)
{
	const i32 slots[] = { head->cgroup, head->lock, head->pidfile, head->exit_dir, head->log_dir, head->listen, head->out,
			      head->err, head->client_out, head->client_err, head->stdin_w };

	for (u32 i = 0; i < sizeof(slots) / sizeof(*slots); i++)
		if (slots[i] != -1 && (slots[i] < 0 || (u32)slots[i] >= head->n_slots || !has_slot(filled, (u32)slots[i])))
			return 0;
	return 1;
}

static enum check check_header(struct plan *plan, const void *bytes, size_t size, u32 received)
{
	const struct plan_header *head = bytes;

	if (size < sizeof(*head) || size > PLAN_MAX_BYTES || head->size != size)
		return SIZE;
	if (memcmp(head->magic, "CMPL", 4) || head->version != 1 || head->reserved)
		return MAGIC;
	if (head->op_count > PLAN_MAX_OPS || head->op_offset != sizeof(*head) ||
	    head->pool_offset != sizeof(*head) + head->op_count * sizeof(struct op) ||
	    head->pool_offset > size || head->pool_size != size - head->pool_offset)
		return LAYOUT;
	if (head->n_slots > PLAN_MAX_SLOTS || head->n_fds > head->n_slots || head->n_fds != received)
		return COUNTS;
	for (u32 i = 0; i < PROGRAMS; i++)
		if (head->program[i].first > head->op_count ||
		    head->program[i].count > head->op_count - head->program[i].first)
			return PROGRAM_RANGE;
	plan->head = head;
	plan->ops = (const struct op *)((const u8 *)bytes + head->op_offset);
	plan->pool = (const u8 *)bytes + head->pool_offset;
	if (head->mode > MODE_KEEP || head->log_files > LOG_FILES_MAX || head->clone_flags & ~CLONE_ALLOWED ||
	    (head->exit_argv && !is_vector(plan, head->exit_argv)))
		return KEEPER;
	return 0;
}

int plan_validate(struct plan *plan, const void *bytes, size_t size, u32 received, struct plan_fault *fault)
{
	slot_set parent = { 0 }, child;

	*fault = (struct plan_fault){ .program = NO_PROGRAM };
	if ((fault->check = check_header(plan, bytes, size, received)))
		return -EINVAL;
	for (u32 i = 0; i < received; i++)
		put_slot(parent, i);
	if ((fault->check = check_program(plan, BEFORE, parent, fault)))
		return -EINVAL;
	memcpy(child, parent, sizeof(child));
	if (!keeper_slots_filled(plan->head, parent)) {
		*fault = (struct plan_fault){ .program = NO_PROGRAM, .check = KEEPER };
		return -EINVAL;
	}
	if ((fault->check = check_program(plan, BESIDE, parent, fault)) ||
	    (fault->check = check_program(plan, INSIDE, child, fault)) ||
	    (fault->check = check_program(plan, AFTER, parent, fault)))
		return -EINVAL;
	return 0;
}

int plan_uses(const struct plan *plan, u32 program, u64 slot)
{
	const struct op *op = plan->ops + plan->head->program[program].first;

	for (u32 i = 0; i < plan->head->program[program].count; i++, op++)
		for (u32 k = 0; table[op->code].kinds[k]; k++)
			if ((table[op->code].kinds[k] == 'f' || table[op->code].kinds[k] == 'g') && op->arg[k] == slot)
				return 1;
	return 0;
}
