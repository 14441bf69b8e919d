/* SPDX-License-Identifier: Apache-2.0
 *
 * enter on the real kernel, with one system call that fails: the N-th of the parent or of the child. The test writes its
 * choice into a copy of the program; what failed is written to the report, whose descriptor no program inherits.
 */
#include "enter.h"

long kernel_call(long number, long a, long b, long c, long d, long e, long f);

enum { REPORT_FD = 900, DUP_CLOEXEC = 1030 };

volatile struct { char magic[16]; u64 in_child, at; i64 error; char report[128]; } choice = { "CHOOSE A FAILURE", 0, 0, 0, "/dev/null" };

static u64 made, in_child;
static u32 open;

static void open_report(void)
{
	long fd = kernel_call(__NR_openat, AT_FDCWD, (long)choice.report, O_WRONLY | O_APPEND | O_CLOEXEC, 0, 0, 0);

	open = 1;
	kernel_call(__NR_fcntl, fd, DUP_CLOEXEC, REPORT_FD, 0, 0, 0);
	kernel_call(__NR_close, fd, 0, 0, 0, 0, 0);
}

/* Like the call itself, but the report stays open. */
static long close_others(long first, long last, long flags)
{
	if ((u64)first > REPORT_FD || (u32)last < REPORT_FD)
		return kernel_call(__NR_close_range, first, last, flags, 0, 0, 0);
	kernel_call(__NR_close_range, REPORT_FD + 1, last, flags, 0, 0, 0);
	return kernel_call(__NR_close_range, first, REPORT_FD - 1, flags, 0, 0, 0);
}

static void say_number(u64 number, char after)
{
	char digits[24], *end = digits + sizeof(digits), *first;

	*--end = after;
	first = decimal(end, number);
	kernel_call(__NR_write, REPORT_FD, (long)first, end + 1 - first, 0, 0, 0);
}

long sys6(long number, long a, long b, long c, long d, long e, long f)
{
	long result;

	if (!open)
		open_report();
	if (in_child == choice.in_child && ++made == choice.at && number != __NR_exit_group) {
		say_number((u64)number, ' ');
		say_number((u64)a, ' ');
		say_number((u64)b, '\n');
		if (number == __NR_close) /* which fails, and closes all the same: close(2) */
			kernel_call(number, a, b, c, d, e, f);
		return -choice.error;
	}
	result = number == __NR_close_range ? close_others(a, b, c) : kernel_call(number, a, b, c, d, e, f);
	if (number == __NR_clone3 && !result)
		in_child = 1, made = 0;
	return result;
}
