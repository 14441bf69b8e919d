"""Flags of openat2(2) and of the calls that take a directory descriptor and a path."""

# linux/openat2.h, since 5.6
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

# linux/openat2.h, since 5.12
RESOLVE_CACHED = 0x20

# linux/fcntl.h, since 2.6.16
AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_REMOVEDIR = 0x200

# linux/fcntl.h, since 2.6.38
AT_NO_AUTOMOUNT = 0x800

# linux/fcntl.h, since 2.6.39
AT_EMPTY_PATH = 0x1000

# linux/fcntl.h, since 5.2
AT_RECURSIVE = 0x8000
