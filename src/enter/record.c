/* SPDX-License-Identifier: Apache-2.0
 *
 * The exit record: one line about the end, then what the cgroup files said. Its space is reserved when the program
 * starts, so that a full disk cannot lose it; it is durable before anybody is told of the end.
 */
#include "enter.h"

enum { RESERVED = 8192, COLLECTED_MAX = 16384, PER_FILE = 4096, KEEP_SIZE = 1 };

static u8 collected[COLLECTED_MAX];
static u32 collected_length;

static char *put_text(char *at, const char *text)
{
	size_t length = strlen(text);

	memcpy(at, text, length);
	return at + length;
}

static char *put_number(char *at, u64 number)
{
	char digits[24], *end = digits + sizeof(digits), *first = decimal(end, number);

	memcpy(at, first, (size_t)(end - first));
	return at + (end - first);
}

void record_collect(i32 fd, const char *label)
{
	static u8 content[PER_FILE];
	long length = sys(pread64, fd, content, sizeof(content), 0);
	char *at = (char *)collected + collected_length;

	if (length < 0 || strlen(label) > 256 || collected_length + (u32)length + 300 > sizeof(collected))
		return;
	at = put_text(at, "== ");
	at = put_text(at, label);
	at = put_text(at, " ");
	at = put_number(at, (u64)length);
	at = put_text(at, "\n");
	memcpy(at, content, (size_t)length);
	at[length] = '\n';
	collected_length = (u32)((u8 *)at - collected) + (u32)length + 1;
}

static long open_record(void)
{
	return sys(openat, slot((u64)self.plan.head->exit_dir), "exit.tmp", O_CREAT | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
}

/* Before the program runs: a record of an earlier run must not be taken for this one's. */
void record_reserve(void)
{
	long fd;

	if (self.plan.head->exit_dir < 0)
		return;
	sys(unlinkat, slot((u64)self.plan.head->exit_dir), "exit", 0);
	fd = open_record();
	sys(fallocate, fd, KEEP_SIZE, 0, RESERVED);
	sys(close, fd);
}

void record_write(i32 status, u64 dropped)
{
	u32 signal = (u32)status & 0x7f;
	struct { i64 seconds, nanoseconds; } now = { 0, 0 };
	char line[200], *at;
	i32 dir;
	long fd;
	int error;

	if (self.plan.head->exit_dir < 0)
		return;
	dir = slot((u64)self.plan.head->exit_dir);
	fd = open_record();
	sys(clock_gettime, 0, &now);
	at = put_text(line, "exit code=");
	at = put_number(at, signal ? 0 : (u32)status >> 8 & 0xff);
	at = put_text(at, " signal=");
	at = put_number(at, signal);
	at = put_text(at, status & 0x80 ? " core=1 time_ns=" : " core=0 time_ns=");
	at = put_number(at, (u64)now.seconds * 1000000000 + (u64)now.nanoseconds);
	at = put_text(at, " dropped=");
	at = put_number(at, dropped);
	at = put_text(at, self.lost ? " lost=1\n" : "\n");
	error = write_all((i32)fd, line, (size_t)(at - line));
	if (!error && !write_all((i32)fd, collected, collected_length)) /* else the first line alone must do */
		sys(ftruncate, fd, (u64)(at - line) + collected_length);
	if (self.plan.head->durable)
		sys(fsync, fd);
	sys(close, fd);
	if (error)
		return;
	sys(renameat2, dir, "exit.tmp", dir, "exit", 0);
	if (self.plan.head->durable)
		sys(fsync, dir);
}
