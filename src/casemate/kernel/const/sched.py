"""Flags of clone(2), unshare(2) and setns(2), and the ioctls of namespace files."""

# linux/sched.h, since 2.6.16
CLONE_VM = 0x00000100
CLONE_FS = 0x00000200
CLONE_FILES = 0x00000400
CLONE_PARENT = 0x00008000
CLONE_NEWNS = 0x00020000

# linux/sched.h, since 2.6.19
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000

# linux/sched.h, since 2.6.23
CLONE_NEWUSER = 0x10000000

# linux/sched.h, since 2.6.24
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# linux/sched.h, since 4.6
CLONE_NEWCGROUP = 0x02000000

# linux/sched.h, since 5.2
CLONE_PIDFD = 0x00001000

# linux/sched.h, since 5.6
CLONE_NEWTIME = 0x00000080

# linux/sched.h, since 5.7
CLONE_INTO_CGROUP = 0x200000000

# linux/nsfs.h, since 4.9
NS_GET_USERNS = 0xB701
NS_GET_PARENT = 0xB702

# linux/nsfs.h, since 4.11
NS_GET_NSTYPE = 0xB703
NS_GET_OWNER_UID = 0xB704
