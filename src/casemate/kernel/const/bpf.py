"""What bpf(2) needs for a device program of a control group."""

# linux/bpf.h, since 3.18
BPF_PROG_LOAD = 5

# linux/bpf.h, since 4.10
BPF_PROG_ATTACH = 8
BPF_PROG_DETACH = 9

# linux/bpf.h, since 4.13
BPF_PROG_GET_FD_BY_ID = 13

# linux/bpf.h, since 4.15
BPF_PROG_QUERY = 16
BPF_PROG_TYPE_CGROUP_DEVICE = 15
BPF_CGROUP_DEVICE = 6
BPF_F_ALLOW_MULTI = 0x2
BPF_DEVCG_ACC_MKNOD = 0x1
BPF_DEVCG_ACC_READ = 0x2
BPF_DEVCG_ACC_WRITE = 0x4
BPF_DEVCG_DEV_BLOCK = 0x1
BPF_DEVCG_DEV_CHAR = 0x2

# linux/bpf_common.h, since 3.18
BPF_LD = 0x00
BPF_LDX = 0x01
BPF_ALU = 0x04
BPF_JMP = 0x05
BPF_W = 0x00
BPF_MEM = 0x60
BPF_AND = 0x50
BPF_RSH = 0x70
BPF_JEQ = 0x10
BPF_JA = 0x00
BPF_K = 0x00
BPF_X = 0x08

# linux/bpf.h, since 3.18
BPF_MOV = 0xB0
BPF_JNE = 0x50
BPF_EXIT = 0x90
