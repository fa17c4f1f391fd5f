// Starts children by one call, waits for each, and says how long it took. `forks fork|vfork|spawn COUNT`
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

int main(int count, char **words)
{
    if (count < 3) return 1;
    char *program[] = {"true", NULL};
    int children = atoi(words[2]);
    // As much as a service that has begun its work.
    for (int i = 0; i < 4000; i++) memset(malloc(4000), 1, 4000);
    struct timespec settled = {0, 300000000};
    nanosleep(&settled, NULL);
    double begun = seconds();
    for (int i = 0; i < children; i++) {
        pid_t child = -1;
        int status;
        if (!strcmp(words[1], "fork") && (child = fork()) == 0) _exit(0);
        if (!strcmp(words[1], "vfork") && (child = vfork()) == 0) {
            execv("/bin/true", program);
            _exit(1);
        }
        if (!strcmp(words[1], "spawn") && posix_spawn(&child, "/bin/true", NULL, NULL, program, environ)) return 2;
        if (child < 0 || waitpid(child, &status, 0) != child || status) return 3;
    }
    printf("%.6f\n", seconds() - begun);
    return 0;
}
