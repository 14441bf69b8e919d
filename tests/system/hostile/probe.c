/*
 * What a hostile program tries first, one line an attempt: "name result errno", or other facts in plain words.
 * Static, no arguments beyond the name of the part to run; it never does harm where it succeeds (it asks for nothing real).
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void say(const char *name, long result)
{
	printf("%s %ld %d\n", name, result < 0 ? -1 : result, result < 0 ? errno : 0);
}

#define TRY(name, ...) (errno = 0, say(name, syscall(__VA_ARGS__)))

/* A call that would fork or end us is made in a child: its answer is the child's. */
static void in_child(const char *name, long number, long a, long b, long c, long d, long e)
{
	int status = 0;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (!child) {
		long result = syscall(number, a, b, c, d, e);

		_exit(result < 0 ? errno : 0);
	}
	waitpid(child, &status, 0);
	if (WIFSIGNALED(status))
		printf("%s signal %d\n", name, WTERMSIG(status));
	else
		printf("%s %d %d\n", name, WEXITSTATUS(status) ? -1 : 0, WEXITSTATUS(status));
}

static void calls(void)
{
	static char buffer[4096];
	static uint64_t clone_arguments[8] = { [4] = SIGCHLD };

	TRY("mount", SYS_mount, "none", "/tmp", "tmpfs", 0, 0);
	TRY("umount2", SYS_umount2, "/proc", 2);
	TRY("pivot_root", SYS_pivot_root, ".", ".");
	TRY("chroot", SYS_chroot, "/tmp");
	TRY("fsopen", SYS_fsopen, "tmpfs", 0);
	TRY("fsconfig", SYS_fsconfig, -1, 0, 0, 0, 0);
	TRY("fsmount", SYS_fsmount, -1, 0, 0);
	TRY("open_tree", SYS_open_tree, -100, "/", 1);
	TRY("move_mount", SYS_move_mount, -1, "", -1, "", 4);
	TRY("mount_setattr", SYS_mount_setattr, -100, "/", 0, buffer, 32);
	TRY("setns", SYS_setns, -1, 0);
	TRY("ptrace", SYS_ptrace, PTRACE_ATTACH, 1, 0, 0);
	TRY("process_vm_readv", SYS_process_vm_readv, getppid(), 0, 0, 0, 0, 0);
	TRY("process_vm_writev", SYS_process_vm_writev, getppid(), 0, 0, 0, 0, 0);
	TRY("bpf", SYS_bpf, 0, buffer, 128);
	TRY("perf_event_open", SYS_perf_event_open, buffer, 0, -1, -1, 0);
	TRY("keyctl", SYS_keyctl, 0, -3, 0);
	TRY("add_key", SYS_add_key, "user", "x", "y", 1, -3);
	TRY("request_key", SYS_request_key, "user", "x", 0, -3);
	TRY("io_uring_setup", SYS_io_uring_setup, 1, buffer);
	TRY("io_uring_enter", SYS_io_uring_enter, -1, 0, 0, 0, 0, 0);
	TRY("io_uring_register", SYS_io_uring_register, -1, 0, 0, 0);
	TRY("userfaultfd", SYS_userfaultfd, 0);
	TRY("init_module", SYS_init_module, buffer, 0, "");
	TRY("finit_module", SYS_finit_module, -1, "", 0);
	TRY("delete_module", SYS_delete_module, "x", 0);
	TRY("kexec_load", SYS_kexec_load, 0, 0, 0, 0);
	TRY("reboot", SYS_reboot, 0, 0, 0, 0);
	TRY("swapon", SYS_swapon, "/tmp", 0);
	TRY("acct", SYS_acct, "/tmp/x");
	TRY("quotactl", SYS_quotactl, 0, "", 0, 0);
	TRY("syslog", SYS_syslog, 3, buffer, 100);
	TRY("settimeofday", SYS_settimeofday, buffer, 0);
	TRY("clock_settime", SYS_clock_settime, 0, buffer);
	TRY("name_to_handle_at", SYS_name_to_handle_at, -100, "/", buffer, buffer + 512, 0);
	TRY("open_by_handle_at", SYS_open_by_handle_at, -100, buffer, 0);
	TRY("fanotify_init", SYS_fanotify_init, 0, 0);
	TRY("lookup_dcookie", 212, 0, buffer, 100);
	TRY("vmsplice", SYS_vmsplice, -1, 0, 0, 0);
	TRY("move_pages", SYS_move_pages, 0, 0, 0, 0, 0, 0);
	TRY("mbind", SYS_mbind, 0, 0, 0, 0, 0, 0);
	TRY("kcmp", SYS_kcmp, 1, 1, 0, 0, 0);
	TRY("personality-read-implies-exec", SYS_personality, 0x0400000);
	TRY("pidfd_getfd", SYS_pidfd_getfd, -1, 0, 0);
	TRY("sethostname", SYS_sethostname, "x", 1);
	TRY("setdomainname", SYS_setdomainname, "x", 1);
	TRY("vhangup", SYS_vhangup);
	TRY("unknown", 10000);
	TRY("clone3", SYS_clone3, clone_arguments, 64);
	in_child("unshare-user", SYS_unshare, CLONE_NEWUSER, 0, 0, 0, 0);
	in_child("unshare-mount", SYS_unshare, CLONE_NEWNS, 0, 0, 0, 0);
	in_child("unshare-user-high", SYS_unshare, (long)(CLONE_NEWUSER | 1ULL << 40), 0, 0, 0, 0);
#ifdef __x86_64__
	{
		static const struct { const char *name; unsigned long flag; } flags[] = {
			{ "clone-newuser", CLONE_NEWUSER }, { "clone-newns", CLONE_NEWNS },
			{ "clone-newpid", CLONE_NEWPID }, { "clone-newnet", CLONE_NEWNET },
			{ "clone-newipc", CLONE_NEWIPC }, { "clone-newuts", CLONE_NEWUTS },
			{ "clone-newcgroup", CLONE_NEWCGROUP }, { "clone-newuser-high", CLONE_NEWUSER | 1UL << 40 },
		};
		for (unsigned int i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
			long child;

			fflush(stdout);
			errno = 0;
			child = syscall(SYS_clone, flags[i].flag | SIGCHLD, 0, 0, 0, 0);
			if (!child)
				_exit(0);
			say(flags[i].name, child > 0 ? 0 : child);
		}
		in_child("x32-getpid", 0x40000000 + 39, 0, 0, 0, 0, 0);
		TRY("modify_ldt", SYS_modify_ldt, 0, 0, 0);
		TRY("iopl", SYS_iopl, 3);
		TRY("ioperm", SYS_ioperm, 0, 1, 1);
		TRY("uselib", SYS_uselib, "/x");
		TRY("ustat", SYS_ustat, 0, buffer);
		TRY("sysfs", SYS_sysfs, 3);
	}
#endif
}

static void nodes(void)
{
	TRY("mknod-char", SYS_mknodat, -100, "/tmp/node-c", S_IFCHR | 0666, makedev(1, 1));
	TRY("mknod-block", SYS_mknodat, -100, "/tmp/node-b", S_IFBLK | 0666, makedev(8, 0));
	TRY("mknod-whiteout", SYS_mknodat, -100, "/tmp/node-w", S_IFCHR, 0);
	TRY("mknod-char-high", SYS_mknodat, -100, "/tmp/node-h", (long)(S_IFCHR | 0666 | 1UL << 32), makedev(1, 1));
	TRY("mknod-fifo", SYS_mknodat, -100, "/tmp/node-p", S_IFIFO | 0666, 0);
	TRY("mknod-file", SYS_mknodat, -100, "/tmp/node-f", S_IFREG | 0666, 0);
}

static void sockets(void)
{
	static const int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET, 10 };
	int pair[2];

	for (int family = 0; family < 64; family++) {
		for (unsigned int i = 0; i < sizeof(types) / sizeof(*types); i++)
			for (int protocol = 0; protocol < 24; protocol++) {
				int fd = socket(family, types[i] | SOCK_CLOEXEC, protocol);

				if (fd >= 0)
					printf("socket %d %d %d\n", family, types[i], protocol);
				close(fd);
			}
		if (syscall(SYS_socket, (long)family | 1L << 32, (long)SOCK_DGRAM, 0L) >= 0)
			printf("high-socket %d\n", family);
		if (!socketpair(family, SOCK_STREAM, 0, pair) || !socketpair(family, SOCK_SEQPACKET, 0, pair))
			printf("socketpair %d\n", family);
	}
}

static void abi32(void)
{
#ifdef __x86_64__
	int status = 0;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (!child) {
		long result;

		__asm__ volatile("int $0x80" : "=a"(result) : "a"(20L /* getpid */) : "memory", "r8", "r9", "r10", "r11");
		_exit(result > 0 ? 0 : (int)-result);
	}
	waitpid(child, &status, 0);
	printf("int80 %s %d\n", WIFSIGNALED(status) ? "signal" : "exit", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
#endif
}

static void terminal(void)
{
	char letter = 'x';

	TRY("tiocsti", SYS_ioctl, 0L, 0x5412L, &letter);
	TRY("tiocsti-high", SYS_ioctl, 0L, 0x5412L | 1L << 32, &letter);
	TRY("tiocsti-negative", SYS_ioctl, 0L, (long)(0x5412UL | 0xffffffffUL << 32), &letter);
	TRY("tioclinux", SYS_ioctl, 0L, 0x541CL, &letter);
	TRY("tioclinux-high", SYS_ioctl, 0L, 0x541CL | 1L << 33, &letter);
}

/* Every file below the directory: "w path" where it opens for writing, "r path" where a byte can be read. */
static void crawl(const char *path, int depth)
{
	char below[4096], byte;
	struct dirent *entry;
	DIR *directory = opendir(path);

	if (!directory)
		return;
	while ((entry = readdir(directory))) {
		struct stat about;
		int fd;

		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (snprintf(below, sizeof(below), "%s/%s", strcmp(path, "/") ? path : "", entry->d_name) >= (int)sizeof(below))
			continue;
		if (lstat(below, &about) || S_ISLNK(about.st_mode))
			continue;
		if (S_ISDIR(about.st_mode)) {
			if (!strcmp(path, "/proc") && entry->d_name[0] >= '0' && entry->d_name[0] <= '9' && strcmp(entry->d_name, "1"))
				continue; /* one process is like another */
			if (strcmp(entry->d_name, "task") && strcmp(entry->d_name, "fd") && depth < 24)
				crawl(below, depth + 1);
			continue;
		}
		fd = open(below, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
		if (fd >= 0) {
			printf("w %s\n", below);
			close(fd);
		}
		fd = open(below, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
		if (fd >= 0) {
			if (read(fd, &byte, 1) > 0)
				printf("r %s\n", below);
			close(fd);
		}
	}
	closedir(directory);
}

static void status(void)
{
	static const char *const wanted[] = { "CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:", "NoNewPrivs:", "Seccomp:", "Groups:", "Uid:", "Gid:" };
	char line[512];
	FILE *file = fopen("/proc/self/status", "r");

	while (file && fgets(line, sizeof(line), file))
		for (unsigned int i = 0; i < sizeof(wanted) / sizeof(*wanted); i++)
			if (!strncmp(line, wanted[i], strlen(wanted[i])))
				fputs(line, stdout);
	printf("SecureBits: %d\nDumpable: %d\nKeepCaps: %d\n", prctl(PR_GET_SECUREBITS), prctl(PR_GET_DUMPABLE), prctl(PR_GET_KEEPCAPS));
	printf("euid: %d\n", (int)geteuid());
	for (int kind = 0; kind < 16; kind++) {
		struct rlimit limit;

		if (!getrlimit(kind, &limit))
			printf("rlimit-%d: %llu %llu\n", kind, (unsigned long long)limit.rlim_cur, (unsigned long long)limit.rlim_max);
	}
}

static void descriptors(void)
{
	char target[4096];

	for (int fd = 0; fd < 4096; fd++) {
		char name[32];
		ssize_t length;

		snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
		length = readlink(name, target, sizeof(target) - 1);
		if (length > 0)
			printf("%d %.*s\n", fd, (int)length, target);
	}
}

static void abstract_socket(const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	memcpy(address.sun_path + 1, name, strlen(name));
	errno = 0;
	say("connect", connect(fd, (void *)&address, (socklen_t)(sizeof(address.sun_family) + 1 + strlen(name))));
}

/* Sends the harmless signal to every process number: how many answer that they exist. */
static void signals(void)
{
	long own = getpid(), found = 0;

	for (long pid = 1; pid < 70000; pid++)
		if (pid != own && !kill((pid_t)pid, 0))
			found++;
	printf("reached %ld\n", found);
}

int main(int argc, char **argv)
{
	const char *part = argc > 1 ? argv[1] : "status";

	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	if (!strcmp(part, "calls"))
		calls();
	else if (!strcmp(part, "nodes"))
		nodes();
	else if (!strcmp(part, "sockets"))
		sockets();
	else if (!strcmp(part, "abi32"))
		abi32();
	else if (!strcmp(part, "terminal"))
		terminal();
	else if (!strcmp(part, "crawl"))
		crawl(argv[2], 0);
	else if (!strcmp(part, "descriptors"))
		descriptors();
	else if (!strcmp(part, "abstract"))
		abstract_socket(argv[2]);
	else if (!strcmp(part, "signals"))
		signals();
	else
		status();
	return 0;
}
