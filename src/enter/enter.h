/* SPDX-License-Identifier: Apache-2.0
 *
 * enter executes a plan: it starts a container's first process, and may stay to keep its output and exit status.
 *
 *   enter.c    start, receiving the plan, the four programs in their order, clone, the end
 *   plan.c     validation of the whole plan
 *   ops*.c     one function per operation
 *   channel.c  messages to and from Python
 *   keeper.c   the loop after the program runs; the guard that survives a killed keeper
 *   stream.c   output: log, index and rotation, by splice and tee
 *   attach.c   who started the container and who attached later: their copies of the output
 *   record.c   the exit record
 *   listener.c a seccomp filter with an agent
 *   init.c     the tiny init of a container that asked for one
 *   copy.c     tmpcopyup
 *   hook.c     hooks that run as the child is
 *   userns.c   id maps
 *   sys.c      entry point and system calls
 */
#ifndef ENTER_H
#define ENTER_H

#include "plan.h"

enum {
	CONTROL_FD = 3,
	VECTOR_MAX = 1 << 16,
	LOG_FILES_MAX = 100,
	FSCONFIG_SET_STRING = 1,
	FSCONFIG_FD_PATH = 64, /* ours: the string "/proc/self/fd/AUX" */
	KEEP_PTY = 0,
	REPORT_CREATED = 1,
	OOM_LEAVE = 1001,
	SIGKILL_ = 9,
	NOT_HERE = 1, /* op_files: the operation is one of op_identity */
};

/* clone flags a plan may ask for: the namespaces. CLONE_PIDFD and the rest are ours. */
#define CLONE_ALLOWED \
	((u64)CLONE_NEWTIME | CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | \
	 CLONE_NEWPID | CLONE_NEWNET)

/* Messages to Python, casemate/runtime/launch.py. */
enum message_kind { MSG_CHILD = 1, MSG_REPORT, MSG_ASK, MSG_FAIL, MSG_EXECED, MSG_EXIT };
struct message { u32 kind, a; i32 b; u32 c; u64 d; };

/* A page shared by parent and child: how far the child has come, without a system call. */
enum child_state { CHILD_SETUP, CHILD_FAILED, CHILD_EXEC };
struct progress { volatile u32 state, op; volatile i32 error; volatile u32 slot; };

enum phase { PHASE_BEFORE, PHASE_SETUP, PHASE_RUN, PHASE_ENDED, PHASE_RECORDED, PHASE_DONE };

struct enter {
	struct plan plan;
	struct progress *progress;
	i32 control; /* to Python; -1 once it is gone */
	i32 sync;    /* between parent and child: go and done to the child; leave and kept descriptors to the parent */
	i32 child;   /* pid, in the parent */
	i32 child_fd;
	i32 pty; /* master, once the child has handed it over */
	i32 birth_slot; /* CHILD_NS: the child is born there, if there are types */
	u32 birth_types, birth_op;
	u32 program; /* that runs here */
	u32 armed;   /* child: dies with its parent */
	u32 released;
	u32 phase;
	i32 status; /* wait status of the child */
	u32 reaped; /* status is valid */
	u32 lost;   /* it could not be learned */
	u32 after_op;
	const char *program_path;
	u64 own_dev, own_ino; /* of enter itself, which no plan may execute */
	i32 slots[PLAN_MAX_SLOTS];
};

extern struct enter self;

/* Where output goes besides the log. The pipe keeps what the descriptor could not take yet, also when we are killed. */
enum { OUT, ERR, STREAMS, LAUNCHER = 0, VIEWERS = 8, CHUNK = 65536, POLL_MAX = 8 + 3 * VIEWERS + 2 * STREAMS };
struct sink { i32 fd, read, write; u32 careful; };
struct viewer { i32 connection; u32 used; struct sink sink[STREAMS]; };
extern struct viewer viewers[VIEWERS]; /* the first is who started the container: only it may hold the container up */
int pending(i32 fd); /* bytes that can be read */

/* ---- channel.c */
int say(u32 kind, u32 a, i32 b, u32 c, u64 d);
int ask(u32 code);
int sync_send(char what, i32 fd);
int sync_receive(char *what, i32 *fd, int flags);
int send_fd(i32 socket, i32 fd, const void *data, size_t length);
long receive_fds(i32 socket, void *data, size_t length, i32 *fds, u32 max, u32 *count, int flags);
int receive_plan(void);

/* ---- ops.c: run one program; on failure *index is the operation, and the result a negative errno */
int run_program(u32 program, u32 *index);
int run_op(const struct op *op);
void set_slot(u64 slot, i32 fd);
i32 slot(u64 number);
int write_all(i32 fd, const void *data, size_t length);
int write_at(i32 dir, const char *path, const void *data, size_t length);
char *decimal(char *end, u64 number); /* digits written backwards from end; returns the first */
int op_target(i32 root, const char *path, u64 kind, u32 mode, u32 depth);
int op_files(const struct op *op);    /* descriptors, files, mounts */
int op_identity(const struct op *op); /* ids, capabilities, confinement, terminal, program */
int op_schedule(const struct op *op); /* processors, input and output, memory, domain */
int op_userns(const struct op *op);
int op_map_ids(const struct op *op);
const char *proc_path(char path[64], i32 pid, const char *name);
const char **pointers(u64 vector); /* to its strings, in fresh memory; NULL when there is none */
void disarm(void);

/* ---- keeper.c */
_Noreturn void keep(void);             /* the program runs */
void run_in_keeper(void (*run)(void)); /* mode KEEP: run() in a detached keeper with a guard; returns in the parent */
_Noreturn void finish(int ran);        /* nothing more to keep: the guard goes, then we; exit_argv if the program ran */
i32 reap_child(void);
void kill_child(void);

/* ---- enter.c */
_Noreturn void child_closed(void); /* the program runs, or the child is dead */
_Noreturn void finish_failed(u32 program, u32 op, i32 error, u64 detail);

/* ---- stream.c */
void streams_init(void);
void streams_start(void);
void streams_add_pty(i32 fd);
u32 streams_poll(struct pollfd *set, i32 *timeout_ms);
void streams_pump(const struct pollfd *set);
int streams_pending(void); /* 2: the launcher's, 1: only attached clients' */
void streams_drop_launcher(void);
u64 streams_dropped(void);

/* ---- attach.c: somebody looks at the output */
void sink_open(struct sink *sink, i32 fd);
void sink_close(struct sink *sink);
void sink_drain(struct sink *sink);
void viewers_accept(i32 listener);
void viewers_read(void);
void viewer_drop(struct viewer *viewer);
u32 viewers_poll(struct pollfd *set);
void viewers_drain(void);

/* ---- init.c */
int op_init(void);

/* ---- copy.c */
int op_copy_up(const struct op *op);

/* ---- hook.c */
int op_hook(const struct op *op);

/* ---- listener.c */
int op_seccomp_notify(const struct op *op);

/* ---- record.c */
void record_reserve(void);
void record_collect(i32 fd, const char *label);
void record_write(i32 status, u64 dropped);

_Noreturn void leave(i32 code);
void enter_main(void);

#endif
