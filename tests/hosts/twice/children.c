// Starts many children by every call that there is, and looks at what a parent can see of them.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHILDREN 150

static volatile int told;
static void child_ended(int which) { (void)which; told++; }

static void nap(int milliseconds)
{
    struct timespec left = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    while (nanosleep(&left, &left)) {}
}

// What a wait for anybody says when nobody is there: at once, and of no child that the program did not start.
static void nobody(const char *when)
{
    static const int kinds[] = {WNOHANG, 0, WNOHANG | __WALL, __WALL, __WCLONE | WNOHANG};
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        errno = 0;
        pid_t found = waitpid(-1, NULL, kinds[i]);
        printf("%s, waitpid(-1, %#x): %s\n", when, kinds[i], found == -1 ? strerrorname_np(errno) : found ? "a child" : "0");
    }
    siginfo_t info;
    int failed = waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WNOHANG);
    printf("%s, waitid: %s\n", when, failed ? strerrorname_np(errno) : "a child");
    fflush(stdout);
}

static int ends(void *status) { syscall(SYS_exit_group, *(int *)status); return 0; }

static pid_t make(const char *way, int status)
{
    static char stack[65536] __attribute__((aligned(16)));
    static int its_status;
    char number[16];
    pid_t child = -1;
    snprintf(number, sizeof number, "exit %d", status);
    char *words[] = {"sh", "-c", number, NULL};
    if (!strcmp(way, "fork") && (child = fork()) == 0) { free(malloc(5000)); exit(status); }
    if (!strcmp(way, "_fork") && (child = fork()) == 0) { memset(malloc(70000), 1, 70000); _exit(status); }
    if (!strcmp(way, "fork_exec") && (child = fork()) == 0) { execv("/bin/sh", words); _exit(99); }
    if (!strcmp(way, "vfork") && (child = vfork()) == 0) { execv("/bin/sh", words); _exit(99); }
    if (!strcmp(way, "vfork_exit") && (child = vfork()) == 0) _exit(status);
    if (!strcmp(way, "spawn") && posix_spawn(&child, "/bin/sh", NULL, NULL, words, environ)) child = -1;
    if (!strcmp(way, "clone")) { its_status = status; child = clone(ends, stack + sizeof stack, SIGCHLD, &its_status); }
    if (!strcmp(way, "clone_vm")) {
        its_status = status;
        child = clone(ends, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &its_status);
    }
    if (!strcmp(way, "raw") && (child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)) == 0) { syscall(SYS_exit_group, status); }
    return child;
}

static void *churns(void *stop)
{
    while (!*(volatile int *)stop) free(malloc(rand() % 4000));
    return NULL;
}

static void storm(const char *way)
{
    long sum = 0;
    int kept = 0;
    for (int i = 0; i < CHILDREN; i++) {
        int status;
        pid_t child = make(way, i % 100);
        if (child < 0) { printf("%s: %s\n", way, strerrorname_np(errno)); return; }
        memset(malloc(10000), 1, 10000);
        kept++;
        if (waitpid(child, &status, 0) != child) puts("not the child");
        sum += WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
    }
    printf("%s: %d children, statuses add up to %ld\n", way, kept, sum);
}

int main(int count, char **words)
{
    const char *what = count > 1 ? words[1] : "";
    struct sigaction action = {.sa_handler = child_ended, .sa_flags = SA_RESTART};
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!strcmp(what, "nobody")) {
        sigaction(SIGCHLD, &action, NULL);
        nobody("at first");
        nap(1200);
        nobody("later");
        pid_t child = fork();
        if (child == 0) _exit(5);
        waitpid(-1, NULL, 0);
        nobody("after one");
        printf("%d times told of a child\n", told);
        return 0;
    }
    if (!strcmp(what, "nobody_in_child")) {
        fflush(stdout);
        if (fork() == 0) { nobody("in a child"); _exit(0); }
        wait(NULL);
        return 0;
    }
    if (!strcmp(what, "reaper")) {
        prctl(PR_SET_CHILD_SUBREAPER, 1);
        if (fork() == 0) { if (fork() == 0) { nap(100); _exit(6); } _exit(5); }
        int sum = 0, reaped = 0, status;
        while (wait(&status) > 0) { reaped++; sum += WEXITSTATUS(status); }
        printf("%d reaped, %d\n", reaped, sum);
        return 0;
    }
    if (!strcmp(what, "ignored")) {
        signal(SIGCHLD, SIG_IGN);
        for (int i = 0; i < 30; i++) if (fork() == 0) _exit(1);
        errno = 0;
        pid_t found = wait(NULL);
        printf("%d %s\n", found, strerrorname_np(errno));
        return 0;
    }
    if (!strcmp(what, "parent_death")) {
        // A child that dies with its parent's thread, and a grandchild that looks who its parent is.
        int ends[2];
        if (pipe(ends)) return 97;
        pid_t us = getpid();
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (write(ends[1], getppid() == us ? "mine" : "not mine", 4) < 0) _exit(1);
            pause();
        }
        char text[5] = "";
        if (read(ends[0], text, 4) != 4) return 96;
        puts(text);
        return 0;
    }
    if (!strcmp(what, "storm")) {
        int stop = 0, threads = count > 3 ? atoi(words[3]) : 0;
        pthread_t churning[8];
        for (int i = 0; i < threads; i++) pthread_create(&churning[i], NULL, churns, &stop);
        storm(words[2]);
        stop = 1;
        for (int i = 0; i < threads; i++) pthread_join(churning[i], NULL);
        return 0;
    }
    if (!strcmp(what, "many_at_once")) {
        int sum = 0, status;
        for (int i = 0; i < 60; i++) if (fork() == 0) { for (int j = 0; j < 2000; j++) free(malloc(j)); _exit(i); }
        while (wait(&status) > 0) sum += WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
        printf("%d\n", sum);
        return 0;
    }
    if (!strcmp(what, "child_goes_on")) {
        // The parent ends first; the child does the work, with threads, and writes the result.
        pid_t us = getpid();
        if (fork() == 0) {
            while (getppid() == us) nap(5);
            pthread_t thread;
            int stop = 0;
            pthread_create(&thread, NULL, churns, &stop);
            for (int i = 0; i < 200; i++) { memset(malloc(20000), 1, 20000); nap(2); }
            stop = 1;
            pthread_join(thread, NULL);
            puts("the child has done it");
            exit(0);
        }
        return 4;
    }
    return 98;
}
