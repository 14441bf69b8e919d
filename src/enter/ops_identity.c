/* SPDX-License-Identifier: Apache-2.0
 *
 * Operations on the process itself: namespaces, ids, capabilities, confinement, terminal, and the program.
 */
#include "enter.h"

enum {
	TIOCSCTTY_ = 0x540E,
	TIOCSWINSZ_ = 0x5414,
	TIOCSPTLCK_ = 0x40045431,
	TIOCGPTPEER_ = 0x5441,
	PR_SET_PDEATHSIG_ = 1,
	PR_CAPBSET_DROP_ = 24,
	PR_CAP_AMBIENT_ = 47,
	AMBIENT_RAISE = 2,
	AMBIENT_CLEAR = 4,
	KEYCTL_JOIN = 1,
	SECCOMP_FILTER = 1,
	F_DUPFD_CLOEXEC_ = 1030,
	AF_INET_ = 2,
	SOCK_DGRAM_CLOEXEC = 2 | O_CLOEXEC,
	SIOCGIFFLAGS_ = 0x8913,
	SIOCSIFFLAGS_ = 0x8914,
	IFF_UP_ = 1,
	CAPABILITIES = 64,
	S_IFMT_ = 0170000,
	S_IFREG_ = 0100000,
};

/* The child no longer dies with its parent: from here on it is a container of its own. */
void disarm(void)
{
	if (self.armed)
		sys(prctl, PR_SET_PDEATHSIG_, 0, 0, 0, 0);
	self.armed = 0;
}

static int capability_bounding(u64 keep)
{
	for (u32 cap = 0; cap < CAPABILITIES; cap++) {
		long error = keep >> cap & 1 ? 0 : sys(prctl, PR_CAPBSET_DROP_, cap, 0, 0, 0);

		if (error == -EINVAL && cap) /* past the kernel's last capability */
			break;
		if (error < 0)
			return (int)error;
	}
	return 0;
}

static int capability_sets(u64 effective, u64 permitted, u64 inheritable)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = {
		{ (u32)effective, (u32)permitted, (u32)inheritable },
		{ (u32)(effective >> 32), (u32)(permitted >> 32), (u32)(inheritable >> 32) },
	};

	return (int)sys(capset, &head, data);
}

static int capability_ambient(u64 mask)
{
	long error = sys(prctl, PR_CAP_AMBIENT_, AMBIENT_CLEAR, 0, 0, 0);

	for (u32 cap = 0; cap < CAPABILITIES && !error; cap++)
		if (mask >> cap & 1)
			error = sys(prctl, PR_CAP_AMBIENT_, AMBIENT_RAISE, cap, 0, 0);
	return (int)error;
}

static int landlock_rule(const struct op *op)
{
	const struct landlock_path_beneath_attr rule = { .allowed_access = op->arg[2], .parent_fd = slot(op->arg[1]) };

	return (int)sys(landlock_add_rule, slot(op->arg[0]), LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
}

/* The last moment at which every call is surely allowed: whatever the program must not inherit from us ends here. */
static int seccomp_filter(const struct op *op)
{
	const struct { u16 length; u16 pad[3]; const void *filter; } program = {
		.length = (u16)(pool_length(op->arg[0]) / 8), .filter = pool_at(&self.plan, op->arg[0]) };

	disarm();
	return (int)sys(seccomp, SECCOMP_FILTER, op->arg[1], &program);
}

static int loopback_up(void)
{
	struct { char name[16]; u16 flags; u8 rest[22]; } request = { .name = "lo" };
	long fd = sys(socket, AF_INET_, SOCK_DGRAM_CLOEXEC, 0), error;

	if (fd < 0)
		return (int)fd;
	error = sys(ioctl, fd, SIOCGIFFLAGS_, &request);
	request.flags |= IFF_UP_;
	if (!error)
		error = sys(ioctl, fd, SIOCSIFFLAGS_, &request);
	sys(close, fd);
	return (int)error;
}

/* A working directory outside the root would be a door to the host: the kernel names it "(unreachable)". */
static int inside_root(void)
{
	static char path[4096];
	long error = sys(getcwd, path, sizeof(path));

	return error < 0 ? (int)error : path[0] == '/' ? 0 : -EXDEV;
}

static int find_exec(const struct op *op)
{
	const char *path = pool_at(&self.plan, op->arg[0]), *end = path + pool_length(op->arg[0]);
	int worst = -ENOENT;

	for (; path < end; path += strlen(path) + 1) {
		struct statx info;
		long error = sys(statx, AT_FDCWD, path, 0, STATX_TYPE | STATX_INO, &info);

		if (!error && (info.stx_mode & S_IFMT_) != S_IFREG_)
			error = (info.stx_mode & S_IFMT_) == 0040000 ? -EISDIR : -EACCES;
		if (!error)
			error = sys(faccessat2, AT_FDCWD, path, 1 /* X_OK */, AT_EACCESS);
		if (!error && info.stx_ino == self.own_ino &&
		    ((u64)info.stx_dev_major << 32 | info.stx_dev_minor) == self.own_dev)
			error = -EACCES; /* /proc/self/exe: that is enter */
		if (!error) {
			self.program_path = path;
			return 0;
		}
		if (error != -ENOENT && error != -ENOTDIR)
			worst = (int)error;
	}
	return worst;
}

const char **pointers(u64 vector)
{
	const char *text = pool_at(&self.plan, vector), *end = text + pool_length(vector);
	long memory = sys(mmap, NULL, (VECTOR_MAX + 1) * sizeof(char *), 3 /* READ|WRITE */,
			  0x22 /* PRIVATE|ANONYMOUS */, -1, 0);
	const char **list = (const char **)memory;
	u32 count = 0;

	if ((u64)memory > -4096UL)
		return NULL;
	for (; text < end; text += strlen(text) + 1)
		list[count++] = text;
	list[count] = NULL;
	return list;
}

static int execute(const struct op *op)
{
	const char **argv = pointers(op->arg[0]), **envp = pointers(op->arg[1]);
	const char *path = self.program_path ? self.program_path : argv ? argv[0] : NULL;

	if (!argv || !envp)
		return -ENOMEM;
	disarm();
	self.progress->state = CHILD_EXEC;
	return (int)sys(execve, path, argv, envp);
}

/* dup to a given number; a slot that happens to have it moves away. */
static int inherit(i32 fd, i32 number)
{
	long error;

	for (u32 i = 0; i < self.plan.head->n_slots; i++)
		if (self.slots[i] == number && number != fd) {
			error = sys(fcntl, number, F_DUPFD_CLOEXEC_, PLAN_MAX_SLOTS);
			if (error < 0)
				error = sys(fcntl, number, F_DUPFD_CLOEXEC_, number + 1);
			if (error < 0)
				return (int)error;
			self.slots[i] = (i32)error;
		}
	if (self.control == number || self.sync == number) {
		error = sys(fcntl, number, F_DUPFD_CLOEXEC_, number + 1);
		if (error < 0)
			return (int)error;
		*(self.control == number ? &self.control : &self.sync) = (i32)error;
	}
	error = fd == number ? sys(fcntl, fd, 2 /* F_SETFD */, 0) : sys(dup3, fd, number, 0);
	return error < 0 ? (int)error : 0;
}

static int new_pty(const struct op *op)
{
	i32 unlocked = 0;
	long error, fd = sys(openat, slot(op->arg[1]), "ptmx", 2 /* O_RDWR */ | O_NOCTTY | O_CLOEXEC | O_NOFOLLOW, 0);

	if (fd < 0)
		return (int)fd;
	set_slot(op->arg[0], (i32)fd);
	error = sys(ioctl, fd, TIOCSPTLCK_, &unlocked);
	return (int)error;
}

static int pty_peer(const struct op *op)
{
	long fd = sys(ioctl, slot(op->arg[1]), TIOCGPTPEER_, 2 /* O_RDWR */ | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return (int)fd;
	set_slot(op->arg[0], (i32)fd);
	return 0;
}

static int wait_byte(i32 fd)
{
	u8 byte;
	long got;

	do
		got = sys(read, fd, &byte, 1);
	while (got == -EINTR);
	return got < 0 ? (int)got : got ? 0 : -ECANCELED;
}

static int set_limit(const u64 *arg)
{
	const u64 limit[2] = { arg[1], arg[2] };

	return (int)sys(prlimit64, 0, arg[0], limit, NULL);
}

static int positive(long result) { return result < 0 ? (int)result : 0; }

int op_identity(const struct op *op)
{
	const struct plan *plan = &self.plan;
	const u64 *arg = op->arg;
	const char *text;
	u16 size[4] = { (u16)arg[1], (u16)arg[2], 0, 0 };

	switch (op->code) {
	case OP_SETNS:
		return (int)sys(setns, slot(arg[0]), arg[1]);
	case OP_CHILD_NS:
		self.birth_slot = (i32)arg[0];
		self.birth_types = (u32)arg[1];
		self.birth_op = (u32)(op - plan->ops) - plan->head->program[BEFORE].first;
		return 0;
	case OP_INIT:
		return op_init();
	case OP_UNSHARE:
		return (int)sys(unshare, arg[0]);
	case OP_SETSID:
		return positive(sys(setsid));
	case OP_CTTY:
		return (int)sys(ioctl, slot(arg[0]), TIOCSCTTY_, 0);
	case OP_WINSIZE:
		return (int)sys(ioctl, slot(arg[0]), TIOCSWINSZ_, size);
	case OP_STDIO:
		return positive(slot(arg[0]) == (i32)arg[1] ? sys(fcntl, arg[1], 2, 0) : sys(dup3, slot(arg[0]), arg[1], 0));
	case OP_INHERIT:
		return inherit(slot(arg[0]), (i32)arg[1]);
	case OP_HOSTNAME:
		text = pool_string(plan, arg[0]);
		return (int)sys(sethostname, text, strlen(text));
	case OP_DOMAINNAME:
		text = pool_string(plan, arg[0]);
		return (int)sys(setdomainname, text, strlen(text));
	case OP_RLIMIT:
		return set_limit(arg);
	case OP_GROUPS:
		return (int)sys(setgroups, pool_length(arg[0]) / sizeof(u32), pool_at(plan, arg[0]));
	case OP_GID:
		return (int)sys(setresgid, arg[0], arg[0], arg[0]);
	case OP_UID:
		return (int)sys(setresuid, arg[0], arg[0], arg[0]);
	case OP_CAP_BOUNDING:
		return capability_bounding(arg[0]);
	case OP_CAPS:
		return capability_sets(arg[0], arg[1], arg[2]);
	case OP_CAP_AMBIENT:
		return capability_ambient(arg[0]);
	case OP_PRCTL:
		return positive(sys(prctl, arg[0], arg[1], arg[2], arg[3], arg[4]));
	case OP_KEYRING:
		return positive(sys(keyctl, KEYCTL_JOIN, pool_string(plan, arg[0]), 0, 0, 0));
	case OP_LANDLOCK_CREATE: {
		long fd = sys(landlock_create_ruleset, pool_at(plan, arg[1]), pool_length(arg[1]), arg[2]);

		if (fd >= 0)
			set_slot(arg[0], (i32)fd);
		return positive(fd);
	}
	case OP_LANDLOCK_RULE:
		return landlock_rule(op);
	case OP_LANDLOCK_APPLY:
		return (int)sys(landlock_restrict_self, slot(arg[0]), arg[1]);
	case OP_SECCOMP:
		return seccomp_filter(op);
	case OP_SECCOMP_NOTIFY:
		return op_seccomp_notify(op);
	case OP_LOOPBACK_UP:
		return loopback_up();
	case OP_CHDIR:
		return positive(sys(chdir, pool_string(plan, arg[0]))) ?: inside_root();
	case OP_FCHDIR:
		return positive(sys(fchdir, slot(arg[0]))) ?: inside_root();
	case OP_UMASK:
		return positive(sys(umask, arg[0]));
	case OP_WAIT:
		return wait_byte(slot(arg[0]));
	case OP_FIND_EXEC:
		return find_exec(op);
	case OP_EXEC:
		return execute(op);
	case OP_PTMX:
		return new_pty(op);
	case OP_PTY_PEER:
		return pty_peer(op);
	default:
		return op_schedule(op);
	}
}
