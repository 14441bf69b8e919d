/* SPDX-License-Identifier: Apache-2.0
 *
 * The kernel as enter sees it: system call numbers, the calls themselves, and the few structures that are passed.
 * No libc: a call returns its result or a negative errno. The hosted test build replaces `sys6` by a fake kernel.
 */
#ifndef SYS_H
#define SYS_H

#include <stdint.h>
#include <stddef.h>
#include <linux/capability.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/ioctl.h>
#include <linux/landlock.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/stat.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t i32;
typedef int64_t i64;

#if defined(__x86_64__)
#include <asm/unistd_64.h>
#elif defined(__aarch64__)
#include <asm-generic/unistd.h>
#define __NR_newfstatat __NR3264_fstatat
#define __NR_fstatfs __NR3264_fstatfs
#define __NR_lseek __NR3264_lseek
#define __NR_ftruncate __NR3264_ftruncate
#define __NR_fcntl __NR3264_fcntl
#define __NR_mmap __NR3264_mmap
#else
#error "enter knows x86_64 and aarch64"
#endif

/* Newer than the headers that enter may be built with. */
#ifndef __NR_fchmodat2
#define __NR_fchmodat2 452
#endif

long sys6(long number, long a, long b, long c, long d, long e, long f);

#define SYS_PICK(_0, _1, _2, _3, _4, _5, _6, NAME, ...) NAME
#define SYS_0(n) sys6(n, 0, 0, 0, 0, 0, 0)
#define SYS_1(n, a) sys6(n, (long)(a), 0, 0, 0, 0, 0)
#define SYS_2(n, a, b) sys6(n, (long)(a), (long)(b), 0, 0, 0, 0)
#define SYS_3(n, a, b, c) sys6(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define SYS_4(n, a, b, c, d) sys6(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define SYS_5(n, a, b, c, d, e) sys6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define SYS_6(n, a, b, c, d, e, f) sys6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
/* sys(name, ...): one system call, arguments widened to registers. */
#define sys(name, ...) SYS_PICK(_, ##__VA_ARGS__, SYS_6, SYS_5, SYS_4, SYS_3, SYS_2, SYS_1, SYS_0) \
	(__NR_##name, ##__VA_ARGS__)

/* clone3 with CLONE_VM: the child runs fn(arg) on the stack named in `args` and must not return. */
long clone_vm(struct clone_args *args, size_t size, void (*fn)(void *), void *arg);

#ifdef ENTER_HOSTED
#include <string.h>
#else
void *memcpy(void *restrict to, const void *restrict from, size_t count);
void *memmove(void *to, const void *from, size_t count);
void *memset(void *to, int byte, size_t count);
int memcmp(const void *left, const void *right, size_t count);
size_t strlen(const char *text);
#endif

struct iovec { void *base; size_t length; };
struct msghdr {
	void *name; u32 name_length; u32 pad0;
	struct iovec *iov; size_t iov_count;
	void *control; size_t control_length;
	u32 flags; u32 pad1;
};
struct cmsghdr { size_t length; i32 level, type; };
struct pollfd { i32 fd; int16_t events, revents; };
#endif
