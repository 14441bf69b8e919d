/* SPDX-License-Identifier: Apache-2.0
 *
 * enter over a fake kernel, for sanitizers: system calls answer at random, but write into the caller's memory what the
 * real ones would. Plans are validated as they are, and those that pass are executed, all four programs.
 *
 *   fuzz file...          run each plan of a corpus
 *   fuzz -r SECONDS SEED  make random plans, from scratch and by changing valid ones
 */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "enter.h"

static u64 state = 88172645463325252ULL;
static jmp_buf process_end;
static struct message last;
static const void *plan_memory;
static size_t plan_length;
static u32 plan_fds, served;

static u64 chance(u64 below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return below ? state % below : state;
}

/* What a call that fills a buffer leaves there: anything. */
static void scribble(long address, size_t length)
{
	u8 *at = (u8 *)address;

	for (size_t i = 0; i < length; i++)
		at[i] = (u8)chance(256);
}

static long some_error(void)
{
	static const int errors[] = { ENOENT, EPERM, EINVAL, EINTR, EAGAIN, ENOSYS, EBADF, EEXIST, ENOSPC };

	return -errors[chance(sizeof(errors) / sizeof(*errors))];
}

long clone_vm(struct clone_args *args, size_t size, void (*fn)(void *), void *arg)
{
	(void)size, (void)fn, (void)arg;
	if (args->pidfd)
		*(i32 *)args->pidfd = 77;
	return chance(4) ? 4242 : some_error();
}

/* recvmsg on the control channel hands over the plan; elsewhere, anything that a peer could send. */
static long receive(struct msghdr *message)
{
	struct cmsghdr *head = message->control;
	u32 count = served ? (u32)chance(4) : plan_fds + 1;

	if (count > 250)
		count = 250;
	scribble((long)message->iov->base, message->iov->length);
	if (!served)
		memcpy(message->iov->base, "PLAN", 4);
	message->flags = chance(8) ? 0 : 8;
	if (served)
		message->flags = chance(8) ? 0 : 8;
	else
		message->flags = 0;
	served++;
	head->length = sizeof(*head) + count * sizeof(i32);
	head->level = head->type = 1;
	for (u32 i = 0; i < count; i++)
		((i32 *)(head + 1))[i] = (i32)(10 + i);
	message->control_length = count ? (head->length + 7) & ~7UL : 0;
	return served == 1 ? 4 : chance(3) ? (long)message->iov->length : 0;
}

static void *mapped[16];
static u32 mappings;

static long map_memory(size_t length)
{
	if (mappings == sizeof(mapped) / sizeof(*mapped))
		return -ENOMEM;
	mapped[mappings] = calloc(1, length);
	return (long)mapped[mappings++];
}

long sys6(long number, long a, long b, long c, long d, long e, long f)
{
	(void)e, (void)f;
	if (number == __NR_exit_group || number == __NR_execve)
		longjmp(process_end, 1);
	if (number == __NR_sendto && c == sizeof(last)) {
		memcpy(&last, (void *)b, sizeof(last));
		return c;
	}
	if (number == __NR_mmap)
		return (d & 0x20) == 0 ? (long)plan_memory : map_memory((size_t)b);
	if (number == __NR_recvmsg)
		return receive((struct msghdr *)b);
	if (!served || (number == __NR_prctl && a == 4)) { /* who cannot even begin runs no plan */
		if (number == __NR_statx)
			scribble(e, sizeof(struct statx));
		return 0;
	}
	if (number == __NR_statx) {
		scribble(e, sizeof(struct statx));
		((struct statx *)e)->stx_size = plan_length;
		return served == 1 ? 0 : chance(4) ? 0 : some_error();
	}
	if (!chance(6))
		return some_error();
	switch (number) {
	case __NR_read:
	case __NR_pread64:
		c = (long)chance((u64)c + 1);
		scribble(b, (size_t)c);
		return c;
	case __NR_readlinkat:
		d = (long)chance((u64)d + 1);
		scribble(c, (size_t)d);
		return d;
	case __NR_getcwd:
		scribble(a, 1);
		return 1;
	case __NR_fstatfs:
		scribble(b, 120);
		return 0;
	case __NR_clone: /* of an init only the side that goes on: the other one never returns */
		return self.plan.ops[self.plan.head->program[INSIDE].first + self.progress->op].code == OP_HOOK && chance(2)
			       ? 4444 : 0;
	case __NR_socketpair:
		scribble(d, 8);
		return 0;
	case __NR_pipe2:
		scribble(a, 8);
		return 0;
	case __NR_ioctl:
		if (b == 0x541B)
			*(i32 *)c = (i32)chance(3) * 100;
		return (long)chance(20);
	case __NR_write:
		return (long)chance((u64)c + 1);
	case __NR_clone3:
		*(i32 *)((struct clone_args *)a)->pidfd = 78;
		return chance(2) ? 4343 : 0; /* both sides of the fork are worth seeing */
	case __NR_ppoll:
		for (long i = 0; i < b; i++)
			((struct pollfd *)a)[i].revents = (int16_t)chance(32);
		return 1;
	case __NR_wait4:
		if (b)
			scribble(b, 4);
		return a;
	case __NR_getdents64: /* one entry with a name, or the end */
		if (chance(2))
			return 0;
		scribble(b, 24);
		((u8 *)b)[16] = 24, ((u8 *)b)[17] = 0;
		((u8 *)b)[19] = (u8)('a' + chance(3)), ((u8 *)b)[20] = 0;
		return 24;
	case __NR_sendfile:
		return (long)chance(2) * 4096;
	case __NR_unlinkat:
		return chance(2) ? 0 : -ENOENT;
	default:
		return (long)chance(100);
	}
}

/* One plan from the first message to the end of the process. */
static void run_plan(const void *bytes, size_t length)
{
	void *copy = malloc(length ? length : 1); /* exact, so that ASan sees a byte too far */

	memcpy(copy, bytes, length);
	plan_memory = copy;
	plan_length = length;
	plan_fds = length >= sizeof(struct plan_header) ? ((const struct plan_header *)copy)->n_fds : 0;
	served = 0;
	self = (struct enter){ .control = CONTROL_FD, .sync = -1, .child_fd = -1, .pty = -1 };
	if (!setjmp(process_end))
		enter_main();
	while (mappings)
		free(mapped[--mappings]);
	free(copy);
}

static const char kinds_of[OP_END][PLAN_ARGS + 1] = {
#define OP(number, name, kinds, where) [number] = kinds,
#include "ops.def"
#undef OP
};

enum { P = 1 << BEFORE, B = 1 << BESIDE, I = 1 << INSIDE, A = 1 << AFTER };

static const u8 where_of[OP_END] = {
#define OP(number, name, kinds, where) [number] = where,
#include "ops.def"
#undef OP
};

/* A plan whose shape is right and whose content is anything that mostly passes. */
static size_t random_plan(u8 *bytes)
{
	static const char pool[] = "\0name\0a/b/c\0/usr/bin/x\0x\0y\0z";
	const u32 starts[] = { 1, 6, 12, 23, 25, 27 }, lengths[] = { 5, 6, 11, 2, 2, 2 };
	struct plan_header *head = (void *)bytes;
	struct op *op = (void *)(head + 1);
	u32 count = 0, total;

	*head = (struct plan_header){ .magic = "CMPL", .version = 1, .op_offset = sizeof(*head), .n_fds = 4, .n_slots = 12,
				      .cgroup = -1, .lock = -1, .pidfile = (i32)chance(3) - 1, .exit_dir = (i32)chance(3) - 1,
				      .log_dir = (i32)chance(3) - 1, .listen = (i32)chance(3) - 1, .out = (i32)chance(3) - 1,
				      .err = 2, .client_out = (i32)chance(4) - 1, .client_err = -1, .stdin_w = -1,
				      .mode = (u32)chance(3), .log_max = chance(2) ? 0 : chance(5000), .log_files = (u32)chance(5) };
	for (u32 i = 0; i < PROGRAMS; i++) {
		head->program[i].first = count;
		for (u32 n = (u32)chance(6); n; n--, count++, op++) {
			memset(op, 0, sizeof(*op));
			do
				op->code = (u16)(1 + chance(OP_END - 1));
			while (!(where_of[op->code] & 1 << i) || (op->code == OP_EXEC && n > 1));
			for (u32 k = 0; kinds_of[op->code][k]; k++) {
				char kind = kinds_of[op->code][k];
				u32 text = (u32)chance(6);

				if (kind == 'n' && (text == 1 || text == 2))
					text = 0; /* no slashes there, mostly */

				op->arg[k] = kind == 'o' ? 4 + chance(8) : kind == 'f' ? chance(4) : kind == 'g' ? chance(5) - 1 :
					     kind == 'i' ? chance(chance(2) ? 4 : 0) : (u64)starts[text] << 32 | lengths[text];
			}
		}
		head->program[i].count = count - head->program[i].first;
	}
	head->op_count = count;
	head->pool_offset = (u32)((u8 *)op - bytes);
	head->pool_size = sizeof(pool);
	head->size = head->pool_offset + head->pool_size;
	total = head->size;
	memcpy(op, pool, sizeof(pool));
	if (!chance(3)) /* and now break it */
		for (u64 n = 1 + chance(4); n; n--)
			bytes[chance(total)] ^= (u8)(1 << chance(8));
	return chance(20) ? total : chance(400);
}

int main(int argc, char **argv)
{
	static u8 bytes[1 << 16] __attribute__((aligned(8)));
	unsigned long plans = 0, accepted = 0;

	if (argc == 4 && !strcmp(argv[1], "-r")) {
		time_t end = time(NULL) + atoi(argv[2]);

		state ^= strtoull(argv[3], NULL, 10) * 0x9E3779B97F4A7C15ULL;
		for (; time(NULL) < end; plans++) {
			size_t length = random_plan(bytes);
			struct plan plan;
			struct plan_fault fault;

			accepted += !plan_validate(&plan, bytes, length, 4, &fault);
			run_plan(bytes, length);
		}
		printf("%lu plans, %lu valid\n", plans, accepted);
		return 0;
	}
	for (int i = 1; i < argc; i++) {
		FILE *file = fopen(argv[i], "rb");
		size_t length = file ? fread(bytes, 1, sizeof(bytes), file) : 0;

		if (!file || fclose(file))
			return 2;
		memset(&last, 0, sizeof(last));
		run_plan(bytes, length);
		printf("%s kind=%u op=%u error=%d program=%u check=%lu\n", argv[i], last.kind, last.a, last.b, last.c, (unsigned long)last.d);
	}
	return 0;
}
