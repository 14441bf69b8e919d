/* SPDX-License-Identifier: Apache-2.0
 *
 * The control channel (descriptor 3, SOCK_SEQPACKET) to Python, and the socket pair between parent and child.
 */
#include "enter.h"

enum { SOL_SOCKET_ = 1, SCM_RIGHTS_ = 1, MSG_CTRUNC_ = 8, MSG_DONTWAIT_ = 0x40, MSG_NOSIGNAL_ = 0x4000,
       MSG_CMSG_CLOEXEC_ = 0x40000000, FDS_PER_MESSAGE = 253 };

int say(u32 kind, u32 a, i32 b, u32 c, u64 d)
{
	const struct message message = { kind, a, b, c, d };
	long sent = sys(sendto, self.control, &message, sizeof(message), MSG_NOSIGNAL_, NULL, 0);

	return sent < 0 ? (int)sent : 0;
}

int ask(u32 code)
{
	u8 answer = 1;
	long got = say(MSG_ASK, code, self.child, 0, 0);

	if (!got)
		do
			got = sys(read, self.control, &answer, 1);
		while (got == -EINTR);
	return got < 0 ? (int)got : !got || answer ? -ECANCELED : 0;
}

int send_fd(i32 socket, i32 fd, const void *data, size_t length)
{
	struct { struct cmsghdr head; i32 fd; } __attribute__((aligned(8))) control = {
		{ sizeof(struct cmsghdr) + sizeof(i32), SOL_SOCKET_, SCM_RIGHTS_ }, fd };
	struct iovec part = { (void *)(uintptr_t)data, length };
	struct msghdr message = { .iov = &part, .iov_count = 1 };
	long sent;

	if (fd >= 0) {
		message.control = &control;
		message.control_length = sizeof(control);
	}
	sent = sys(sendmsg, socket, &message, MSG_NOSIGNAL_);
	return sent < 0 ? (int)sent : 0;
}

/* Receive one message with at most `max` descriptors; the length, or a negative errno. */
long receive_fds(i32 socket, void *data, size_t length, i32 *fds, u32 max, u32 *count, int flags)
{
	u64 control[(sizeof(struct cmsghdr) + FDS_PER_MESSAGE * sizeof(i32) + 7) / 8];
	struct iovec part = { data, length };
	struct msghdr message = { .iov = &part, .iov_count = 1, .control = control, .control_length = sizeof(control) };
	const struct cmsghdr *head = (const void *)control;
	const i32 *got = (const void *)(head + 1);
	long received;
	u32 n = 0;

	do
		received = sys(recvmsg, socket, &message, MSG_CMSG_CLOEXEC_ | flags);
	while (received == -EINTR);
	*count = 0;
	if (received < 0)
		return received;
	if (message.control_length > sizeof(*head) && message.control_length <= sizeof(control) &&
	    head->level == SOL_SOCKET_ && head->type == SCM_RIGHTS_ && head->length > sizeof(*head) &&
	    head->length <= message.control_length)
		n = (u32)((head->length - sizeof(*head)) / sizeof(i32));
	for (u32 i = 0; i < n; i++) {
		if (*count < max)
			fds[(*count)++] = got[i];
		else
			sys(close, got[i]);
	}
	return n > max || message.flags & MSG_CTRUNC_ ? -EMSGSIZE : received;
}

int sync_send(char what, i32 fd) { return send_fd(self.sync, fd, &what, 1); }

/* 1 with a message, 0 at the end, negative errno (EAGAIN with MSG_DONTWAIT). */
int sync_receive(char *what, i32 *fd, int flags)
{
	u32 count;

	*fd = -1;
	return (int)receive_fds(self.sync, what, 1, fd, 1, &count, flags);
}

/* Receive descriptors into the slots, and map and validate the plan. 0, or what is wrong after telling Python. */
int receive_plan(void)
{
	static i32 fds[PLAN_MAX_SLOTS + 1];
	struct statx info;
	struct plan_fault fault = { .program = NO_PROGRAM };
	u32 count = 0, got;
	void *bytes = NULL;
	int error = 0;

	do {
		char word[4] = "";
		long length = receive_fds(self.control, word, 4, fds + count, PLAN_MAX_SLOTS + 1 - count, &got, 0);

		if (length != 4 || memcmp(word, count ? "MORE" : "PLAN", 4))
			return -EPROTO;
		count += got;
		if (!got)
			return -EPROTO;
		if (count == got) { /* the first message carries the plan, whose header says how many will come */
			if (sys(statx, fds[0], "", AT_EMPTY_PATH, STATX_SIZE, &info) < 0 ||
			    info.stx_size < sizeof(struct plan_header) || info.stx_size > PLAN_MAX_BYTES)
				return -EPROTO;
			bytes = (void *)sys(mmap, NULL, info.stx_size, 1 /* PROT_READ */, 2 /* MAP_PRIVATE */, fds[0], 0);
			if ((u64)bytes > -4096UL)
				return (int)(long)bytes;
		}
	} while (count - 1 < ((const struct plan_header *)bytes)->n_fds && count <= PLAN_MAX_SLOTS);
	sys(close, fds[0]);
	for (u32 i = 0; i < PLAN_MAX_SLOTS; i++)
		self.slots[i] = i + 1 < count ? fds[i + 1] : -1;
	error = plan_validate(&self.plan, bytes, info.stx_size, count - 1, &fault);
	if (error)
		say(MSG_FAIL, fault.op, -error, fault.program, fault.check);
	return error;
}
