/* SPDX-License-Identifier: Apache-2.0
 *
 * Operations on descriptors, files and mounts. No path is looked up without a descriptor that it starts from, and
 * inside a container every lookup is confined by openat2.
 */
#include "enter.h"

/* How much of a path, of one component. */
#define PATH_BYTES 4096
#define COMPONENT 256

enum {
	MOVE_EMPTY = 0x4 | 0x40, /* MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH */
	FSOPEN_CLOEXEC_ = 1,
	FSMOUNT_CLOEXEC_ = 1,
	OPEN_TREE_CLOEXEC_ = O_CLOEXEC,
	MNT_DETACH_ = 2,
	MS_REC_PRIVATE = 0x4000 | (1 << 18),
	S_IFMT_ = 0170000,
	S_IFDIR_ = 0040000,
	S_IFLNK_ = 0120000,
	RACE_TRIES = 64,
	LINK_DEPTH = 8,
};

static i32 open_how(i32 dir, const char *path, u64 flags, u64 mode, u64 resolve)
{
	const struct open_how how = { .flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve };
	long fd = -EAGAIN;

	for (u32 try = 0; try < RACE_TRIES && fd == -EAGAIN; try++) /* somebody renames: the kernel asks us to try again */
		fd = sys(openat2, dir, path, &how, sizeof(how));
	return (i32)fd;
}

static int keep_result(u64 out, long fd)
{
	if (fd < 0)
		return (int)fd;
	set_slot(out, (i32)fd);
	return 0;
}

static long file_type(i32 dir, const char *name, int flags)
{
	struct statx info;
	long error = sys(statx, dir, name, flags, STATX_TYPE, &info);

	return error < 0 ? error : info.stx_mode & S_IFMT_;
}

/* A device number as Python's os.makedev packs it. */
static u64 device(u64 major, u64 minor)
{
	return (major & 0xfff) << 8 | (minor & 0xff) | (minor & ~0xffULL) << 12 | (major & ~0xfffULL) << 32;
}

static int make_directory(i32 dir, const char *name, u32 mode)
{
	long error = sys(mkdirat, dir, name, mode);

	if (error == -EEXIST)
		error = file_type(dir, name, AT_SYMLINK_NOFOLLOW) == S_IFDIR_ ? 0 : -ENOTDIR;
	return (int)error;
}

/* A node that is there already is as good as a new one when it is the same. */
static int make_node(const struct op *op)
{
	const char *name = pool_string(&self.plan, op->arg[1]);
	struct statx info;
	long error = sys(mknodat, slot(op->arg[0]), name, op->arg[2], op->arg[3]);

	if (error != -EEXIST)
		return (int)error;
	if (sys(statx, slot(op->arg[0]), name, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &info) < 0 ||
	    (info.stx_mode & S_IFMT_) != (op->arg[2] & S_IFMT_) ||
	    device(info.stx_rdev_major, info.stx_rdev_minor) != op->arg[3])
		return -EEXIST;
	return 0;
}

static int make_symlink(const struct op *op)
{
	static char there[PATH_BYTES];
	const char *target = pool_string(&self.plan, op->arg[0]), *name = pool_string(&self.plan, op->arg[2]);
	i32 dir = slot(op->arg[1]);
	long error = sys(symlinkat, target, dir, name);

	if (error == -EEXIST) {
		long length = sys(readlinkat, dir, name, there, sizeof(there));

		if (length == (long)strlen(target) && !memcmp(there, target, (size_t)length))
			return 0;
	}
	return (int)error;
}

/* Cut the next component of *path into `name`; 0 at the end. */
static int next_component(const char **path, char *name)
{
	size_t length = 0;

	while (**path == '/')
		++*path;
	while ((*path)[length] && (*path)[length] != '/')
		length++;
	if (length >= COMPONENT)
		return -ENAMETOOLONG;
	memcpy(name, *path, length);
	name[length] = 0;
	*path += length;
	while (**path == '/')
		++*path;
	return length > 0;
}

/* How every path inside a container is looked up. */
static const u64 INSIDE_ROOT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;

/* Open `name` below `parent`, which exists, as what `kind` says; made when it is missing. -EMLINK: a dangling link. */
static i32 open_or_make(i32 parent, const char *name, u64 kind, u32 mode)
{
	u64 flags = O_PATH | O_NOFOLLOW | (kind == 1 ? O_DIRECTORY : 0);
	long error;

	if (kind == 1) {
		error = sys(mkdirat, parent, name, mode);
	} else {
		error = sys(openat, parent, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, mode);
		if (error >= 0)
			sys(close, error);
	}
	if (error < 0 && error != -EEXIST)
		return (i32)error;
	if (file_type(parent, name, AT_SYMLINK_NOFOLLOW) == S_IFLNK_)
		return -EMLINK;
	return open_how(parent, name, flags, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
}

/* A dangling link at the end of `prefix` (its parent is prefix[0..before)): make what it points to, inside the root. */
static i32 make_link_target(i32 root, i32 parent, const char *prefix, size_t before, const char *name, u64 kind,
			    u32 mode, u32 depth)
{
	char path[PATH_BYTES];
	long length;

	if (before + 1 >= sizeof(path) - 1)
		return -ENAMETOOLONG;
	memcpy(path, prefix, before);
	path[before++] = '/';
	length = sys(readlinkat, parent, name, path + before, sizeof(path) - 1 - before);
	if (length <= 0)
		return length ? (i32)length : -ENOENT;
	path[before + (size_t)length] = 0;
	return op_target(root, path[before] == '/' ? path + before : path, kind, mode, depth + 1);
}

/* The mount target: resolved once inside `root`, missing parts made on verified descriptors. A descriptor. */
i32 op_target(i32 root, const char *path, u64 kind, u32 mode, u32 depth)
{
	char prefix[PATH_BYTES], name[COMPONENT];
	const char *rest = path;
	size_t before = 0, end;
	i32 parent, fd = open_how(root, path, O_PATH | (kind == 1 ? O_DIRECTORY : 0), 0, INSIDE_ROOT);

	if (fd >= 0 && kind == 2 && file_type(fd, "", AT_EMPTY_PATH) == S_IFDIR_) {
		sys(close, fd);
		return -EISDIR;
	}
	if (fd != -ENOENT || !kind)
		return fd;
	if (depth > LINK_DEPTH || strlen(path) >= sizeof(prefix))
		return -ELOOP;
	fd = open_how(root, ".", O_PATH | O_DIRECTORY, 0, INSIDE_ROOT);
	while (fd >= 0 && next_component(&rest, name) > 0) {
		u64 want = *rest ? 1 : kind;

		parent = fd;
		end = (size_t)(rest - path);
		memcpy(prefix, path, end);
		prefix[end] = 0;
		fd = open_how(root, prefix, O_PATH | (want == 1 ? O_DIRECTORY : 0), 0, INSIDE_ROOT);
		if (fd == -ENOENT)
			fd = open_or_make(parent, name, want, *rest ? 0755 : mode);
		if (fd == -EMLINK)
			fd = make_link_target(root, parent, prefix, before, name, want, mode, depth);
		sys(close, parent);
		before = end;
	}
	return fd;
}

/* WRITE: kernel interfaces take a value in one write; `verify` reads back what was taken. */
static int write_value(i32 fd, const void *data, u32 length, u64 verify)
{
	u8 back[256];
	long got = sys(write, fd, data, length);

	if (got < 0 || got != length)
		return got < 0 ? (int)got : -EIO;
	if (!verify)
		return 0;
	got = sys(pread64, fd, back, sizeof(back), 0);
	if (got > (long)length && back[got - 1] == '\n')
		got--;
	return got == length && !memcmp(back, data, length) ? 0 : -EIO;
}

static int has_type(i32 fd, u64 type)
{
	u64 info[32]; /* struct statfs: f_type is its first word */
	long error = sys(fstatfs, fd, info);

	return error < 0 ? (int)error : info[0] == type ? 0 : -EXDEV;
}

static int write_file(const struct op *op)
{
	i32 fd = open_how(slot(op->arg[0]), pool_string(&self.plan, op->arg[1]), O_WRONLY | O_NOCTTY, 0, op->arg[3]);
	int error = fd;

	if (fd < 0)
		return fd;
	error = op->arg[4] ? has_type(fd, op->arg[4]) : 0;
	if (!error)
		error = write_value(fd, pool_at(&self.plan, op->arg[2]), pool_length(op->arg[2]), 0);
	sys(close, fd);
	return error;
}

static int same_inode(const struct op *op)
{
	struct statx info;
	long error = sys(statx, slot(op->arg[0]), "", AT_EMPTY_PATH, STATX_INO, &info);

	if (error < 0)
		return (int)error;
	return info.stx_ino == op->arg[2] && op->arg[1] == device(info.stx_dev_major, info.stx_dev_minor) ? 0 : -ESTALE;
}

static int fs_config(const struct op *op)
{
	const char *key = pool_string(&self.plan, op->arg[2]);
	const void *value = op->arg[3] ? pool_at(&self.plan, op->arg[3]) : NULL;
	i32 aux = op->arg[4] == ~0ULL ? 0 : self.slots[op->arg[4]];
	char path[32] = "/proc/self/fd/", digits[16], *end = digits + sizeof(digits);

	if (op->arg[1] == FSCONFIG_FD_PATH) {
		char *first = decimal(end, (u64)aux);

		memcpy(path + 14, first, (size_t)(end - first));
		return (int)sys(fsconfig, slot(op->arg[0]), FSCONFIG_SET_STRING, key, path, 0);
	}
	return (int)sys(fsconfig, slot(op->arg[0]), op->arg[1], key, value, aux);
}

static int set_attributes(const struct op *op)
{
	const struct { u64 set, clear, propagation, userns; } attributes = {
		op->arg[2], op->arg[3], op->arg[4], op->arg[5] == ~0ULL ? 0 : (u64)self.slots[op->arg[5]] };

	return (int)sys(mount_setattr, slot(op->arg[0]), "", AT_EMPTY_PATH | op->arg[1], &attributes, sizeof(attributes));
}

/* The old mount call, for what the new one cannot express; "." is the descriptor's own directory. */
static int old_mount(const struct op *op)
{
	const struct plan *plan = &self.plan;
	long error = sys(fchdir, slot(op->arg[1]));

	if (!error)
		error = sys(mount, pool_string(plan, op->arg[0]), ".", pool_string(plan, op->arg[2]), op->arg[3],
			    pool_string(plan, op->arg[4]));
	return (int)error;
}

static int unmount(const struct op *op)
{
	long error = sys(fchdir, slot(op->arg[0]));

	if (!error)
		error = sys(umount2, ".", op->arg[1]);
	if (!error)
		error = sys(chdir, "/");
	return (int)error;
}

/* The old root lies on top of the new one after pivot_root(".", "."), and is detached from there. */
static int pivot(i32 root)
{
	long old = sys(openat, AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC, 0), error = old < 0 ? old : 0;

	if (!error)
		error = sys(fchdir, root);
	if (!error)
		error = sys(pivot_root, ".", ".");
	if (!error)
		error = sys(fchdir, old);
	if (!error) /* the old one, not what lies below it: the container's mounts keep their propagation */
		error = sys(mount, NULL, ".", NULL, MS_REC_PRIVATE, NULL); /* its unmounting stays here */
	if (!error)
		error = sys(umount2, ".", MNT_DETACH_);
	if (!error)
		error = sys(chdir, "/");
	if (old >= 0)
		sys(close, old);
	return (int)error;
}

static int change_mode(i32 fd, u64 mode)
{
	long error = sys(fchmod, fd, mode);

	if (error == -EBADF) /* opened with O_PATH */
		error = sys(fchmodat2, fd, "", mode, AT_EMPTY_PATH);
	return (int)error;
}

int op_files(const struct op *op)
{
	const struct plan *plan = &self.plan;
	const u64 *arg = op->arg;
	const char *path;

	switch (op->code) {
	case OP_CLOSE_RANGE:
		return (int)sys(close_range, arg[0], arg[1], arg[2]);
	case OP_OPENAT2:
		path = pool_string(plan, arg[2]);
		return keep_result(arg[0], open_how(slot(arg[1]), path ? path : ".", arg[3], arg[4], arg[5]));
	case OP_TARGET:
		return keep_result(arg[0], op_target(slot(arg[1]), pool_string(plan, arg[2]), arg[3], (u32)arg[4], 0));
	case OP_MKDIR:
		return make_directory(slot(arg[0]), pool_string(plan, arg[1]), (u32)arg[2]);
	case OP_MKNOD:
		return make_node(op);
	case OP_SYMLINK:
		return make_symlink(op);
	case OP_WRITE:
		return write_value(slot(arg[0]), pool_at(plan, arg[1]), pool_length(arg[1]), arg[2]);
	case OP_WRITE_FILE:
		return write_file(op);
	case OP_OPEN_TREE:
		path = pool_string(plan, arg[2]);
		return keep_result(arg[0], sys(open_tree, slot(arg[1]), path ? path : "",
					       arg[3] | OPEN_TREE_CLOEXEC_ | (path ? 0 : AT_EMPTY_PATH)));
	case OP_MOVE_MOUNT:
		return (int)sys(move_mount, slot(arg[0]), "", slot(arg[1]), "", MOVE_EMPTY);
	case OP_MOUNT_SETATTR:
		return set_attributes(op);
	case OP_FSOPEN:
		return keep_result(arg[0], sys(fsopen, pool_string(plan, arg[1]), FSOPEN_CLOEXEC_));
	case OP_FSCONFIG:
		return fs_config(op);
	case OP_FSMOUNT:
		return keep_result(arg[0], sys(fsmount, slot(arg[1]), FSMOUNT_CLOEXEC_, arg[2]));
	case OP_MOUNT:
		return old_mount(op);
	case OP_UMOUNT:
		return unmount(op);
	case OP_PIVOT_ROOT:
		return pivot(slot(arg[0]));
	case OP_EXPECT_INODE:
		return same_inode(op);
	case OP_EXPECT_FS:
		return has_type(slot(arg[0]), arg[1]);
	case OP_FCHOWN:
		return (int)sys(fchownat, slot(arg[0]), "", arg[1], arg[2], AT_EMPTY_PATH);
	case OP_FCHMOD:
		return change_mode(slot(arg[0]), arg[1]);
	default:
		return NOT_HERE;
	}
}
