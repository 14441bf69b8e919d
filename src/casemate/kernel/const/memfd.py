"""memfd_create(2) flags and file seals that Python's ``fcntl`` and ``os`` modules do not have everywhere."""

# linux/memfd.h, since 3.17
MFD_CLOEXEC = 0x0001
MFD_ALLOW_SEALING = 0x0002

# linux/memfd.h, since 6.3
MFD_NOEXEC_SEAL = 0x0008
MFD_EXEC = 0x0010

# linux/fcntl.h, since 3.17
F_ADD_SEALS = 1033
F_GET_SEALS = 1034
F_SEAL_SEAL = 0x0001
F_SEAL_SHRINK = 0x0002
F_SEAL_GROW = 0x0004
F_SEAL_WRITE = 0x0008

# linux/fcntl.h, since 5.1
F_SEAL_FUTURE_WRITE = 0x0010

# linux/fcntl.h, since 6.3
F_SEAL_EXEC = 0x0020
