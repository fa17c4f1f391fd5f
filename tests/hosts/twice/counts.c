// Says what a program can see of its own process: threads, children, signals, limits, the terminal, who its parent is.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/single_threaded.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int entries(const char *path)
{
    int count = 0;
    DIR *folder = opendir(path);
    while (folder && readdir(folder)) count++;
    if (folder) closedir(folder);
    return count - 2;
}

static void line_of(const char *file, const char *name)
{
    char line[512];
    FILE *status = fopen(file, "r");
    while (status && fgets(line, sizeof line, status))
        if (!strncmp(line, name, strlen(name))) fputs(line, stdout);
    if (status) fclose(status);
}

int main(int count, char **words)
{
    struct timespec nap = {1, 300000000};
    nanosleep(&nap, NULL);
    if (count > 1 && !strcmp(words[1], "environment")) {
        for (char **variable = environ; *variable; variable++)
            if (strncmp(*variable, "PWD=", 4) && strncmp(*variable, "OLDPWD=", 7) && strncmp(*variable, "_=", 2)) puts(*variable);
        return 0;
    }
    printf("threads %d, by glibc %s\n", entries("/proc/self/task"), __libc_single_threaded ? "one" : "several");
    for (const char *const *name = (const char *const[]){"Threads", "SigQ", "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt", "NoNewPrivs",
             "Seccomp:", "CapEff", "CoreDumping", "Cpus_allowed:", "TracerPid", NULL}; *name; name++)
        if (strcmp(*name, "SigQ")) line_of("/proc/self/status", *name);
    line_of("/proc/self/limits", "Max");
    char children[64] = "", path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
    FILE *file = fopen(path, "r");
    if (file && !fgets(children, sizeof children, file)) children[0] = 0;
    printf("children %s\n", *children ? children : "none");
    printf("group is own %d, session is own %d\n", getpgrp() == getpid(), getsid(0) == getpid());
    for (int i = 0; i < 3; i++) printf("terminal %d\n", isatty(i));
    char name[17] = "";
    prctl(PR_GET_NAME, name);
    printf("called %s, dumpable %d, reaper %d\n", name, prctl(PR_GET_DUMPABLE), prctl(PR_GET_CHILD_SUBREAPER, &(int){0}));
    printf("nice %d, policy %d, mask %o\n", getpriority(PRIO_PROCESS, 0), sched_getscheduler(0), umask(0));
    sigset_t blocked;
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    for (int i = 1; i < 65; i++) {
        struct sigaction action;
        if (sigaction(i, NULL, &action)) continue;
        if (action.sa_handler != SIG_DFL || sigismember(&blocked, i)) printf("signal %d is not as it was\n", i);
    }
    timer_t timer;
    printf("timers %d\n", timer_create(CLOCK_MONOTONIC, NULL, &timer) ? errno : 0);
    return 0;
}
