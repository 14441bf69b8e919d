/* SPDX-License-Identifier: Apache-2.0
 *
 * The container's output. Bytes move from pipe to log by splice and are copied to viewers by tee: they never are in our
 * memory, and every step can be continued by whoever takes over when this process is killed in the middle of it. How
 * far a step came is read from the kernel: the file position of the log, the fill of a viewer's pipe.
 */
#include "enter.h"

enum { FIONREAD_ = 0x541B, SPLICE_NONBLOCK = 2, POLLIN_ = 1, POLLHUP_ = 0x10, POLLERR_ = 8, SEEK_SET_ = 0, SEEK_CUR_ = 1,
       SEEK_END_ = 2, NAME = 32, REOPEN_MS = 500, LOST_BEFORE = 1, F_DUPFD_CLOEXEC_ = 1030 };

/* One output; a terminal's bytes pass through a pipe of ours, so that both kinds look alike. */
static struct stream { i32 pipe, master, feed; u32 blocked, resting, at; } streams[STREAMS];

static struct {
	i32 dir, file, index;
	u64 index_size, dropped;
	u32 lost_before, rotation; /* next step of a rotation under way, else 0 */
} journal;

/* The step under way: `step` is twice the viewer, plus one when `before` is valid for it. */
static struct { u32 active, stream, step; u64 amount, before, start; } copying;

struct index_record { u64 time_ns, offset; u32 length; u16 stream, flags; };

int pending(i32 fd)
{
	i32 bytes = 0;

	return sys(ioctl, fd, FIONREAD_, &bytes) < 0 ? 0 : bytes;
}

static u64 position(void) { return journal.file < 0 ? 0 : (u64)sys(lseek, journal.file, 0, SEEK_CUR_); }

/* "log", "log.3", "log.index", "log.index.3" */
static const char *log_name(char name[NAME], int index, u32 number)
{
	char digits[16], *end = digits + sizeof(digits), *first = decimal(end, number);
	size_t length = index ? 9 : 3;

	memcpy(name, index ? "log.index" : "log", length);
	if (number) {
		name[length++] = '.';
		memcpy(name + length, first, (size_t)(end - first));
		length += (size_t)(end - first);
	}
	name[length] = 0;
	return name;
}

static void open_journal(int fresh)
{
	const int flags = O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW | (fresh ? O_TRUNC : 0);
	char name[NAME];
	long end;

	journal.file = (i32)sys(openat, journal.dir, log_name(name, 0, 0), flags, 0600);
	journal.index = (i32)sys(openat, journal.dir, log_name(name, 1, 0), flags, 0600);
	sys(lseek, journal.file, 0, SEEK_END_);
	end = sys(lseek, journal.index, 0, SEEK_END_);
	journal.index_size = end < 0 ? 0 : (u64)end / sizeof(struct index_record) * sizeof(struct index_record);
}

/* Every rename may be repeated: when it was done before we were killed, its source is absent. */
static void rotate(void)
{
	u32 files = self.plan.head->log_files ? self.plan.head->log_files : 1, last = 2 * (files - 1);

	if (!journal.rotation)
		journal.rotation = 1;
	for (; journal.rotation <= last; journal.rotation++) {
		u32 to = files - 1 - (journal.rotation - 1) / 2;
		int index = (journal.rotation - 1) & 1;
		char from_name[NAME], to_name[NAME];

		sys(renameat2, journal.dir, log_name(from_name, index, to - 1), journal.dir, log_name(to_name, index, to), 0);
	}
	sys(close, journal.file);
	sys(close, journal.index);
	open_journal(1);
	journal.rotation = 0;
}

static void discard(i32 fd, u64 amount)
{
	static u8 buffer[4096];

	while (amount) {
		long got = sys(read, fd, buffer, amount < sizeof(buffer) ? amount : sizeof(buffer));

		if (got <= 0 && got != -EINTR)
			break;
		if (got > 0)
			amount -= (u64)got;
	}
}

/* Copy the step's bytes to one viewer. 0 when the launcher cannot take any: the container has to wait. */
static int copy_to_viewer(const struct stream *stream)
{
	struct viewer *viewer = &viewers[copying.step / 2];
	struct sink *sink = &viewer->sink[copying.stream];
	u64 done;

	if (viewer->used && sink->fd >= 0) {
		if (!(copying.step & 1)) {
			copying.before = (u64)pending(sink->read);
			copying.step |= 1;
		}
		done = (u64)pending(sink->read) - copying.before;
		if (!done) {
			long copied = sys(tee, stream->pipe, sink->write, copying.amount, SPLICE_NONBLOCK);

			done = copied > 0 ? (u64)copied : 0;
		}
		if (copying.step / 2 == LAUNCHER) {
			if (!done)
				return 0;
			copying.amount = done;
		} else if (done != copying.amount) {
			viewer_drop(viewer);
		}
	}
	copying.step = (copying.step / 2 + 1) * 2;
	return 1;
}

/* Move the step's bytes to the log; what the disk does not take is dropped and counted. The number logged. */
static u64 move_to_log(const struct stream *stream)
{
	u64 done;

	while ((done = position() - copying.start) < copying.amount) {
		long moved = journal.file < 0 ? -EBADF : sys(splice, stream->pipe, NULL, journal.file, NULL, copying.amount - done, 0);

		if (moved > 0 || moved == -EINTR)
			continue;
		discard(stream->pipe, copying.amount - done);
		if (journal.dir >= 0) {
			journal.dropped += copying.amount - done;
			journal.lost_before = 1;
		}
		break;
	}
	return done;
}

static void write_index(u64 logged)
{
	struct { i64 seconds, nanoseconds; } now = { 0, 0 };
	struct index_record record = { .offset = copying.start, .length = (u32)logged, .stream = (u16)(copying.stream + 1) };

	if (!logged || journal.index < 0)
		return;
	sys(clock_gettime, 0, &now);
	record.time_ns = (u64)now.seconds * 1000000000 + (u64)now.nanoseconds;
	record.flags = journal.lost_before ? LOST_BEFORE : 0;
	if (sys(pwrite64, journal.index, &record, sizeof(record), journal.index_size) == sizeof(record)) {
		journal.index_size += sizeof(record);
		journal.lost_before = 0;
	}
}

/* Do, or finish, the step under way. */
static void finish_round(void)
{
	struct stream *stream = &streams[copying.stream];
	u64 logged;

	while (copying.step / 2 < VIEWERS)
		if (!copy_to_viewer(stream)) {
			stream->blocked = 1;
			copying.active = 0;
			return;
		}
	logged = move_to_log(stream);
	write_index(logged);
	copying.active = 0;
	if (self.plan.head->log_max && journal.file >= 0 && position() >= self.plan.head->log_max)
		rotate();
}

static void start_round(u32 number, u64 amount)
{
	u64 limit = self.plan.head->log_max, at = position();

	if (amount > CHUNK)
		amount = CHUNK;
	if (journal.file >= 0 && limit > at && amount > limit - at)
		amount = limit - at;
	copying.stream = number;
	copying.step = 0;
	copying.amount = amount;
	copying.start = at;
	copying.active = 1;
	finish_round();
}

static void pump_stream(u32 number, const struct pollfd *set)
{
	struct stream *stream = &streams[number];
	int events = set && stream->at ? set[stream->at - 1].revents : 0, bytes;

	stream->blocked = stream->resting = 0;
	if (stream->master >= 0 && events && !pending(stream->pipe) &&
	    sys(splice, stream->master, NULL, stream->feed, NULL, CHUNK, SPLICE_NONBLOCK) <= 0)
		stream->resting = 1; /* EIO: nobody has the terminal open just now */
	while (stream->pipe >= 0 && !stream->blocked && (bytes = pending(stream->pipe)) > 0)
		start_round(number, (u64)bytes);
	if (stream->master < 0 && stream->pipe >= 0 && events & (POLLHUP_ | POLLERR_) && !pending(stream->pipe)) {
		sys(close, stream->pipe);
		stream->pipe = -1;
	}
}

void streams_pump(const struct pollfd *set)
{
	if (journal.rotation) /* somebody was killed in the middle of it */
		rotate();
	if (copying.active)
		finish_round();
	viewers_read();
	for (u32 i = 0; i < STREAMS; i++)
		pump_stream(i, set);
	viewers_drain();
	for (u32 i = 0; i < STREAMS; i++) /* the launcher may have made room for more */
		if (streams[i].blocked)
			pump_stream(i, NULL);
}

u32 streams_poll(struct pollfd *set, i32 *timeout_ms)
{
	u32 count = 0;

	for (u32 i = 0; i < STREAMS; i++) {
		struct stream *stream = &streams[i];

		stream->at = 0;
		if (stream->pipe < 0 || stream->blocked)
			continue;
		if (stream->resting) {
			*timeout_ms = REOPEN_MS;
			continue;
		}
		set[count++] = (struct pollfd){ stream->master >= 0 ? stream->master : stream->pipe, POLLIN_, 0 };
		stream->at = count;
	}
	return count + viewers_poll(set + count);
}

int streams_pending(void)
{
	int waiting = 0;

	for (u32 i = 0; i < VIEWERS; i++)
		for (u32 j = 0; j < STREAMS; j++)
			if (viewers[i].used && viewers[i].sink[j].fd >= 0 && pending(viewers[i].sink[j].read) > 0)
				waiting |= i == LAUNCHER ? 2 : 1;
	for (u32 i = 0; i < STREAMS; i++)
		if (streams[i].blocked)
			waiting |= 2;
	return waiting;
}

void streams_drop_launcher(void)
{
	viewers_drain();
	viewer_drop(&viewers[LAUNCHER]);
}

u64 streams_dropped(void) { return journal.dropped; }

void streams_add_pty(i32 fd)
{
	i32 pipe[2];

	if (self.pty >= 0 || sys(pipe2, pipe, O_CLOEXEC | O_NONBLOCK) < 0) {
		sys(close, fd);
		return;
	}
	self.pty = fd;
	streams[OUT] = (struct stream){ .pipe = pipe[0], .master = fd, .feed = pipe[1] };
}

/* Forget the slot, because its descriptor now belongs to a stream or sink. */
static i32 take(i32 number)
{
	i32 fd = number < 0 ? -1 : self.slots[number];

	if (number >= 0)
		self.slots[number] = -1;
	return fd;
}

void streams_init(void)
{
	for (u32 i = 0; i < VIEWERS; i++)
		viewers[i] = (struct viewer){ .connection = -1, .sink = { { .fd = -1 }, { .fd = -1 } } };
	for (u32 i = 0; i < STREAMS; i++)
		streams[i] = (struct stream){ .pipe = -1, .master = -1, .feed = -1 };
	journal.dir = journal.file = journal.index = -1;
}

/* The program runs: descriptors leave their slots. May be continued by a guard whose keeper was killed in here. */
void streams_start(void)
{
	const struct plan_header *head = self.plan.head;
	const i32 pipes[STREAMS] = { head->out, head->err }, clients[STREAMS] = { head->client_out, head->client_err };

	for (u32 i = 0; i < STREAMS; i++) {
		i32 pipe = take(pipes[i]), client = take(clients[i]);

		if (i == ERR && clients[ERR] >= 0 && clients[ERR] == clients[OUT] && viewers[LAUNCHER].used)
			client = (i32)sys(fcntl, viewers[LAUNCHER].sink[OUT].fd, F_DUPFD_CLOEXEC_, CONTROL_FD + 1);

		if (pipe >= 0 && streams[i].pipe < 0)
			streams[i].pipe = pipe;
		if (client >= 0) {
			sink_open(&viewers[LAUNCHER].sink[i], client);
			viewers[LAUNCHER].used = 1;
		}
	}
	if (head->log_dir >= 0 && journal.file < 0) {
		journal.dir = slot((u64)head->log_dir);
		open_journal(0);
	}
}
