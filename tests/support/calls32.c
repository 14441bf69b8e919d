/* A 32-bit program without libc: says that it lives, and which sockets it gets, directly and by socketcall. */
static long call(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
	return result;
}

static void say(const char *name, long result)
{
	char text[32];
	int length = 0, at = 24;
	long error = result < 0 ? -result : 0;

	while (*name)
		text[length++] = *name++;
	text[length++] = '=';
	text[at = 30] = ' ';
	do
		text[--at] = (char)('0' + error % 10);
	while (error /= 10);
	call(4, 1, (long)text, length);
	call(4, 1, (long)(text + at), 31 - at);
}

void _start(void)
{
	static long unix_socket[3] = { 1, 1, 0 }, alg_socket[3] = { 38, 5, 0 };

	say("unix", call(359, 1, 1, 0));
	say("alg", call(359, 38, 5, 0));
	say("called-unix", call(102, 1, (long)unix_socket, 0) > 0 ? 0 : -1);
	say("called-alg", call(102, 1, (long)alg_socket, 0) == -1 ? -1 : 0);
	call(1, 0, 0, 0);
}
