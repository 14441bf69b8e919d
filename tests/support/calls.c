/* Makes the system calls named on the command line, each in a process of its own, and prints what came of it:
 * NUMBER[:ARGUMENT...] -> "0" (success), an errno, or "SIG n". A lone "+" in front of an argument passes the address of a string.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static void trapped(int number, siginfo_t *info, void *context)
{
	(void)number, (void)context;
	_exit(info->si_code == 1 /* SYS_SECCOMP */ ? 201 : 200);
}

int main(int argc, char **argv)
{
	int *result = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct sigaction action = { .sa_sigaction = trapped, .sa_flags = SA_SIGINFO };

	setvbuf(stdout, NULL, _IONBF, 0);
	for (int i = 1; i < argc; i++) {
		long number, value[6] = { 0 };
		char *text = strtok(argv[i], ":");
		int status, n = 0;
		pid_t child;

		number = strtol(text, NULL, 0);
		while ((text = strtok(NULL, ":")) && n < 6)
			value[n++] = *text == '+' ? (long)(text + 1) : strtol(text, NULL, 0);
		*result = -1;
		child = fork();
		if (!child) {
			sigaction(SIGSYS, &action, NULL);
			errno = 0;
			if (syscall(number, value[0], value[1], value[2], value[3], value[4], value[5]) >= 0)
				errno = 0;
			*result = errno;
			_exit(0);
		}
		waitpid(child, &status, 0);
		if (WIFSIGNALED(status))
			printf("SIG%d ", WTERMSIG(status));
		else if (WEXITSTATUS(status) == 201)
			printf("TRAP ");
		else
			printf("%d ", *result);
	}
	printf("\n");
	return 0;
}
