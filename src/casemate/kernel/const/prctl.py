"""prctl(2) options, secure bits and seccomp modes."""

# linux/prctl.h, since 2.1.57
PR_SET_PDEATHSIG = 1

# linux/prctl.h, since 2.3.15
PR_GET_PDEATHSIG = 2

# linux/prctl.h, since 2.3.20
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4

# linux/prctl.h, since 2.2.18
PR_GET_KEEPCAPS = 7
PR_SET_KEEPCAPS = 8

# linux/prctl.h, since 2.6.9
PR_SET_NAME = 15

# linux/prctl.h, since 2.6.25
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24

# linux/prctl.h, since 2.6.26
PR_GET_SECUREBITS = 27
PR_SET_SECUREBITS = 28

# linux/prctl.h, since 3.4
PR_SET_CHILD_SUBREAPER = 36
PR_GET_CHILD_SUBREAPER = 37

# linux/prctl.h, since 3.5
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39

# linux/prctl.h, since 2.6.23
PR_GET_SECCOMP = 21
PR_SET_SECCOMP = 22

# linux/prctl.h, since 4.3
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_IS_SET = 1
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_LOWER = 3
PR_CAP_AMBIENT_CLEAR_ALL = 4

# linux/securebits.h, since 2.6.26
SECBIT_NOROOT = 0x1
SECBIT_NOROOT_LOCKED = 0x2
SECBIT_NO_SETUID_FIXUP = 0x4
SECBIT_NO_SETUID_FIXUP_LOCKED = 0x8
SECBIT_KEEP_CAPS = 0x10
SECBIT_KEEP_CAPS_LOCKED = 0x20

# linux/securebits.h, since 4.3
SECBIT_NO_CAP_AMBIENT_RAISE = 0x40
SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED = 0x80

# linux/seccomp.h, since 3.17
SECCOMP_SET_MODE_STRICT = 0
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_TSYNC = 0x1

# linux/seccomp.h, since 4.14
SECCOMP_GET_ACTION_AVAIL = 2
SECCOMP_FILTER_FLAG_LOG = 0x2

# linux/seccomp.h, since 4.17
SECCOMP_FILTER_FLAG_SPEC_ALLOW = 0x4

# linux/seccomp.h, since 5.0
SECCOMP_GET_NOTIF_SIZES = 3
SECCOMP_FILTER_FLAG_NEW_LISTENER = 0x8

# linux/seccomp.h, since 5.19
SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 0x20
