/* SPDX-License-Identifier: Apache-2.0
 *
 * Copies of the output for people: the launcher's descriptors, and clients of the attach socket. A client sends "A"
 * with one or two descriptors and gets "O" with what writes to the container's input, or "N". One that reads too
 * slowly is dropped; the launcher alone may slow the container down.
 */
#include "enter.h"

enum { SOL_SOCKET_ = 1, SO_PEERCRED_ = 17, MSG_DONTWAIT_ = 0x40, SPLICE_NONBLOCK = 2, POLLIN_ = 1, POLLOUT_ = 4,
       SOCK_FLAGS = O_CLOEXEC | O_NONBLOCK, CAREFUL_BYTES = 4096, TYPE = 0170000 };

struct viewer viewers[VIEWERS];

/* Take `fd`. Pipes and terminals are opened anew, so that not blocking them is our affair and not their owner's. */
void sink_open(struct sink *sink, i32 fd)
{
	struct statx info = { 0 };
	char path[32] = "/proc/self/fd/", digits[16], *end = digits + sizeof(digits), *first = decimal(end, (u64)fd);
	i32 pipe[2];
	long again = -1;

	memcpy(path + 14, first, (size_t)(end - first));
	sys(statx, fd, "", AT_EMPTY_PATH, STATX_TYPE, &info);
	if ((info.stx_mode & TYPE) == 0010000 || (info.stx_mode & TYPE) == 0020000)
		again = sys(openat, AT_FDCWD, path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0);
	if (sys(pipe2, pipe, O_CLOEXEC | O_NONBLOCK) < 0) {
		sys(close, again >= 0 ? again : fd);
		again = fd = -1;
	}
	if (again >= 0)
		sys(close, fd);
	*sink = (struct sink){ again >= 0 ? (i32)again : fd, pipe[0], pipe[1],
			       again < 0 && (info.stx_mode & TYPE) != 0100000 };
}

void sink_close(struct sink *sink)
{
	if (sink->fd < 0)
		return;
	sys(close, sink->fd);
	sys(close, sink->read);
	sys(close, sink->write);
	sink->fd = -1;
}

/* For what cannot be spliced to (a file opened for appending): through memory. */
static long copy_out(const struct sink *sink)
{
	static u8 buffer[CAREFUL_BYTES];
	long got = sys(read, sink->read, buffer, sizeof(buffer));

	return got > 0 ? (write_all(sink->fd, buffer, (size_t)got) ?: got) : got;
}

static int writable(i32 fd)
{
	struct pollfd set = { fd, POLLOUT_, 0 };
	const struct { i64 seconds, nanoseconds; } now = { 0, 0 };

	return sys(ppoll, &set, 1, &now, NULL, 8) == 1 && set.revents & POLLOUT_;
}

/* Write what is pending, as far as it goes without blocking. */
void sink_drain(struct sink *sink)
{
	while (sink->fd >= 0 && pending(sink->read) > 0) {
		long done;

		if (sink->careful && !writable(sink->fd))
			return;
		done = sys(splice, sink->read, NULL, sink->fd, NULL, sink->careful ? CAREFUL_BYTES : CHUNK, SPLICE_NONBLOCK);
		if (done == -EINVAL)
			done = copy_out(sink);
		if (done == -EAGAIN)
			return;
		if (done <= 0 && done != -EINTR)
			sink_close(sink);
	}
}

void viewer_drop(struct viewer *viewer)
{
	for (u32 i = 0; i < STREAMS; i++)
		sink_close(&viewer->sink[i]);
	if (viewer->connection >= 0)
		sys(close, viewer->connection);
	viewer->connection = -1;
	viewer->used = 0;
}

void viewers_accept(i32 listener)
{
	struct { i32 pid; u32 uid, gid; } peer = { 0, ~0U, ~0U };
	u32 length = sizeof(peer);
	long fd = sys(accept4, listener, NULL, NULL, SOCK_FLAGS);

	if (fd < 0)
		return;
	sys(getsockopt, fd, SOL_SOCKET_, SO_PEERCRED_, &peer, &length);
	for (u32 i = 1; i < VIEWERS && (!peer.uid || peer.uid == (u32)sys(geteuid)); i++)
		if (!viewers[i].used) {
			viewers[i].used = 1;
			viewers[i].connection = (i32)fd;
			return;
		}
	sys(close, fd);
}

/* The client's request: its descriptors become sinks, its answer what writes to the container's input. */
static void viewer_request(struct viewer *viewer)
{
	i32 fds[STREAMS], input;
	char word = 0;
	u32 count;
	long length = receive_fds(viewer->connection, &word, 1, fds, STREAMS, &count, MSG_DONTWAIT_);

	if (length == -EAGAIN)
		return;
	if (length != 1 || word != 'A' || !count || viewer->sink[OUT].fd >= 0) {
		for (u32 i = 0; i < count; i++)
			sys(close, fds[i]);
		viewer_drop(viewer);
		return;
	}
	for (u32 i = 0; i < count; i++)
		sink_open(&viewer->sink[i], fds[i]);
	input = self.pty >= 0 ? self.pty : self.plan.head->stdin_w >= 0 ? slot((u64)self.plan.head->stdin_w) : -1;
	if (send_fd(viewer->connection, input, input >= 0 ? "O" : "N", 1) < 0)
		viewer_drop(viewer);
}

void viewers_read(void)
{
	for (u32 i = 1; i < VIEWERS; i++)
		if (viewers[i].used)
			viewer_request(&viewers[i]);
}

u32 viewers_poll(struct pollfd *set)
{
	u32 count = 0;

	for (u32 i = 0; i < VIEWERS; i++) {
		if (!viewers[i].used)
			continue;
		if (viewers[i].connection >= 0)
			set[count++] = (struct pollfd){ viewers[i].connection, POLLIN_, 0 };
		for (u32 j = 0; j < STREAMS; j++)
			if (viewers[i].sink[j].fd >= 0 && pending(viewers[i].sink[j].read) > 0)
				set[count++] = (struct pollfd){ viewers[i].sink[j].fd, POLLOUT_, 0 };
	}
	return count;
}

void viewers_drain(void)
{
	for (u32 i = 0; i < VIEWERS; i++)
		for (u32 j = 0; j < STREAMS; j++)
			if (viewers[i].used)
				sink_drain(&viewers[i].sink[j]);
}
