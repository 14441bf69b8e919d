/* SPDX-License-Identifier: Apache-2.0
 *
 * Everything that a watcher of processes can get wrong: threads, signals among them, vfork, stops, crashes, a handler of a crash,
 * and a program that is executed by a thread which is not the first. Prints what it saw; ends with 9.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 8, CALLS = 200, BIRTHS = 20 };

static volatile sig_atomic_t alarms;
static char *self;

static void count(int number)
{
	(void)number;
	alarms++;
}

static void end(int number) { _exit(number); }

static void *refused(void *nothing)
{
	for (int i = 0; i < CALLS; i++)
		if (!sethostname("x", 1))
			abort();
	return nothing;
}

static void *execute(void *nothing)
{
	execl(self, self, "again", NULL);
	return nothing;
}

static void threads(void)
{
	pthread_t made[THREADS];

	signal(SIGALRM, count);
	ualarm(1000, 1000);
	for (int i = 0; i < THREADS; i++)
		pthread_create(made + i, NULL, refused, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_join(made[i], NULL);
	while (!alarms)
		usleep(100);
	ualarm(0, 0);
	printf("alarms %d\n", alarms > 0);
}

static __attribute__((noinline)) pid_t bear(void)
{
	pid_t child = vfork();

	if (!child)
		_exit(3);
	return child;
}

static void births(void)
{
	int status, sum = 0;

	for (int i = 0; i < BIRTHS; i++) {
		waitpid(bear(), &status, 0);
		sum += WEXITSTATUS(status);
	}
	printf("births %d\n", sum);
}

static void stops(void)
{
	int status;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (!child) {
		raise(SIGSTOP);
		_exit(4);
	}
	waitpid(child, &status, WUNTRACED);
	printf("stopped %d\n", WIFSTOPPED(status));
	kill(child, SIGCONT);
	waitpid(child, &status, 0);
	printf("went on %d\n", WEXITSTATUS(status));
}

static void crashes(int handled)
{
	int status;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (!child) {
		if (handled)
			signal(SIGSEGV, end);
		*(volatile int *)sysconf(-1) = 0; /* -1: an address that nobody has */
	}
	waitpid(child, &status, 0);
	printf("crash %d %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0, WIFEXITED(status) ? WEXITSTATUS(status) : 0);
}

int main(int count_of, char **words)
{
	pthread_t last;

	if (count_of > 1)
		return 9;
	self = words[0];
	threads();
	births();
	stops();
	crashes(0);
	crashes(1);
	fflush(stdout);
	pthread_create(&last, NULL, execute, NULL);
	pthread_join(last, NULL);
	return 1;
}
