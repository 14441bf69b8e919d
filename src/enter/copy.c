/* SPDX-License-Identifier: Apache-2.0
 *
 * tmpcopyup: a tmpfs that begins with what the image has at its place. Both sides are walked by descriptors, entry by
 * entry and without following a link: whoever changes the image's files meanwhile changes what is copied, nothing else.
 * How much there can be is the tmpfs's own limit; devices, FIFOs and sockets are left out.
 */
#include "enter.h"

enum {
	COPY_CONTENT = 1, COPY_OWNER = 2, COPY_MODE = 4,
	DEPTH = 64, ENTRIES = 2048, LINK_BYTES = 4096, BLOCK = 1 << 20,
	S_IFMT_ = 0170000, S_IFDIR_ = 0040000, S_IFREG_ = 0100000, S_IFLNK_ = 0120000,
	WANTED = STATX_TYPE | STATX_MODE | STATX_UID | STATX_GID | STATX_ATIME | STATX_MTIME,
};

struct entry { u64 inode; i64 offset; u16 length; u8 type; char name[]; };

static int copy_directory(i32 from, i32 to, u32 depth);

/* An owner that the user namespace does not map stays who we are. */
static int set_owner(i32 dir, const char *name, const struct statx *info, int flags)
{
	long error = sys(fchownat, dir, name, info->stx_uid, info->stx_gid, flags);

	return error == -EINVAL ? 0 : (int)error;
}

static int set_meta(i32 fd, const struct statx *info)
{
	const i64 times[4] = { info->stx_atime.tv_sec, info->stx_atime.tv_nsec, info->stx_mtime.tv_sec,
			       info->stx_mtime.tv_nsec };
	long error = set_owner(fd, "", info, AT_EMPTY_PATH);

	if (!error)
		error = sys(fchmod, fd, info->stx_mode & 07777);
	if (!error)
		error = sys(utimensat, fd, NULL, times, 0);
	return (int)error;
}

static int copy_link(i32 from, i32 to, const char *name, const struct statx *info)
{
	static char target[LINK_BYTES];
	long length = sys(readlinkat, from, name, target, sizeof(target) - 1), error;

	if (length < 0)
		return (int)length;
	target[length] = 0;
	error = sys(symlinkat, target, to, name);
	return error < 0 ? (int)error : set_owner(to, name, info, AT_SYMLINK_NOFOLLOW);
}

static int copy_bytes(i32 from, i32 to)
{
	long got;

	do
		got = sys(sendfile, to, from, NULL, BLOCK);
	while (got > 0 || got == -EINTR);
	return (int)got;
}

/* A file or directory, whichever `type` says; what was opened is looked at again. */
static int copy_opened(i32 from, i32 to, const char *name, u32 type, u32 depth)
{
	int directory = type == S_IFDIR_;
	long source = sys(openat, from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0), target = -1;
	struct statx info;
	long error = source;

	if (source < 0)
		return (int)source;
	error = sys(statx, source, "", AT_EMPTY_PATH, WANTED, &info);
	if (!error && (info.stx_mode & S_IFMT_) != type)
		error = -ESTALE;
	if (!error && directory)
		error = sys(mkdirat, to, name, 0700);
	if (!error) {
		error = target = sys(openat, to, name, O_NOFOLLOW | O_CLOEXEC |
				     (directory ? O_RDONLY | O_DIRECTORY : O_WRONLY | O_CREAT | O_EXCL), 0600);
		if (target >= 0) {
			error = directory ? copy_directory((i32)source, (i32)target, depth + 1)
					  : copy_bytes((i32)source, (i32)target);
			if (!error)
				error = set_meta((i32)target, &info);
			sys(close, target);
		}
	}
	sys(close, source);
	return (int)error;
}

static int copy_entry(i32 from, i32 to, const char *name, u32 depth)
{
	struct statx info;
	long error = sys(statx, from, name, AT_SYMLINK_NOFOLLOW, WANTED, &info);
	u32 type = error < 0 ? 0 : info.stx_mode & S_IFMT_;

	if (error == -ENOENT) /* gone meanwhile */
		return 0;
	if (type == S_IFLNK_)
		return copy_link(from, to, name, &info);
	if (type == S_IFDIR_ || type == S_IFREG_)
		return copy_opened(from, to, name, type, depth);
	return (int)error;
}

static int is_dots(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

static int copy_directory(i32 from, i32 to, u32 depth)
{
	u8 entries[ENTRIES] __attribute__((aligned(8)));
	long got;

	if (depth > DEPTH)
		return -ELOOP;
	while ((got = sys(getdents64, from, entries, sizeof(entries))) > 0)
		for (long at = 0; at < got;) {
			const struct entry *entry = (const struct entry *)(entries + at);
			int error = is_dots(entry->name) ? 0 : copy_entry(from, to, entry->name, depth);

			if (error)
				return error;
			at += entry->length;
		}
	return (int)got;
}

int op_copy_up(const struct op *op)
{
	long from = sys(openat, slot(op->arg[0]), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0), to = from, error = from;
	struct statx info;

	if (from < 0)
		return (int)from;
	error = to = sys(openat, slot(op->arg[1]), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (to >= 0) {
		error = sys(statx, from, "", AT_EMPTY_PATH, WANTED, &info);
		if (!error && op->arg[2] & COPY_CONTENT)
			error = copy_directory((i32)from, (i32)to, 0);
		if (!error && op->arg[2] & COPY_OWNER)
			error = set_owner((i32)to, "", &info, AT_EMPTY_PATH);
		if (!error && op->arg[2] & COPY_MODE)
			error = sys(fchmod, to, info.stx_mode & 07777);
		sys(close, to);
	}
	sys(close, from);
	return (int)error;
}
