// Every way in which a C program ends, one by its name on the command line.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void say(const char *words) { if (write(1, words, strlen(words)) < 0) _exit(99); }

static void nap(int milliseconds)
{
    struct timespec left = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    while (nanosleep(&left, &left)) {}
}

static void at_exit(void) { say("exit handler\n"); }
static void at_quick_exit_too(void) { say("quick exit handler\n"); }
static void on_its_exit(int status, void *word) { printf("%s %d\n", (char *)word, status); }
__attribute__((destructor)) static void destructor(void) { say("destructor\n"); }

static void *later(void *unused)
{
    nap(400);
    puts("the last thread ends");
    fflush(stdout);
    return unused;
}
static void *forever(void *unused)
{
    for (;;) pause();
    return unused;
}
static void *exits(void *unused)
{
    nap(100);
    exit(21);
    return unused;
}
static void *leaves(void *unused)
{
    nap(100);
    _exit(22);
    return unused;
}
static void *churns(void *unused)
{
    for (;;) free(malloc(3000));
    return unused;
}
static void *ends_by_call(void *unused)
{
    nap(200);
    say("a thread ends by its own call\n");
    syscall(SYS_exit, 0);
    return unused;
}
static void *waits_for_it(void *unused)
{
    sigset_t set;
    int which;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigwait(&set, &which);
    printf("a thread took signal %d\n", which);
    fflush(stdout);
    (void)unused;
    _exit(23);
}

static void start(void *(*what)(void *))
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, what, NULL)) abort();
}
static void caught(int which) { say(which == SIGTERM ? "caught TERM\n" : "caught\n"); _exit(24); }
static void runs_on(int which) { (void)which; say("and on\n"); }

int main(int count, char **words)
{
    const char *way = count > 1 ? words[1] : "";
    int number = count > 2 ? atoi(words[2]) : 0;
    void *kept = malloc(200000);
    memset(kept, 1, 200000);
    printf("buffered\n");
    if (!strcmp(way, "return")) return number;
    if (!strcmp(way, "exit")) { atexit(at_exit); on_exit(on_its_exit, "on_exit"); exit(number); }
    if (!strcmp(way, "exit_in_handler")) { atexit(at_quick_exit_too); atexit(at_exit); exit(number); }
    if (!strcmp(way, "_exit")) { atexit(at_exit); fflush(stdout); _exit(number); }
    if (!strcmp(way, "_Exit")) { atexit(at_exit); _Exit(number); }
    if (!strcmp(way, "quick_exit")) { atexit(at_exit); at_quick_exit(at_quick_exit_too); quick_exit(number); }
    if (!strcmp(way, "exit_group")) syscall(SYS_exit_group, number);
    if (!strcmp(way, "abort")) abort();
    if (!strcmp(way, "raise")) { fflush(stdout); raise(number); say("still there\n"); return 30; }
    if (!strcmp(way, "kill")) { kill(getpid(), number); nap(1000); return 31; }
    if (!strcmp(way, "fault")) { volatile int *nowhere = NULL; fflush(stdout); *nowhere = 1; }
    if (!strcmp(way, "exec")) { fflush(stdout); execvp(words[2], words + 2); return 32; }
    if (!strcmp(way, "exec_thread")) { start(churns); nap(50); fflush(stdout); execvp(words[2], words + 2); return 32; }
    if (!strcmp(way, "fexecve")) {
        int program = open(words[2], O_RDONLY | O_CLOEXEC);
        fflush(stdout);
        fexecve(program, words + 2, environ);
        return 33;
    }
    if (!strcmp(way, "exec_fails")) { execl("/no/such/program", "x", NULL); puts("goes on"); return number; }
    if (!strcmp(way, "exec_vfork")) {
        fflush(stdout);
        for (int i = 0; i < 20; i++) {
            pid_t child = vfork();
            if (child == 0) { execl("/no/such/program", "x", NULL); _exit(3); }
            waitpid(child, NULL, 0);
        }
        puts("twenty that failed");
        return number;
    }
    if (!strcmp(way, "main_thread_ends")) { start(later); fflush(stdout); pthread_exit(NULL); }
    if (!strcmp(way, "main_thread_ends_by_call")) { start(ends_by_call); fflush(stdout); syscall(SYS_exit, 0); }
    if (!strcmp(way, "all_end_by_call")) { start(ends_by_call); start(ends_by_call); fflush(stdout); pthread_exit(NULL); }
    if (!strcmp(way, "main_thread_gone")) { start(forever); fflush(stdout); pthread_exit(NULL); }
    if (!strcmp(way, "main_thread_gone_handler")) {
        signal(SIGTERM, caught);
        signal(SIGINT, caught);
        start(forever);
        fflush(stdout);
        pthread_exit(NULL);
    }
    if (!strcmp(way, "main_thread_gone_sigwait")) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        pthread_sigmask(SIG_BLOCK, &set, NULL);
        start(waits_for_it);
        fflush(stdout);
        pthread_exit(NULL);
    }
    if (!strcmp(way, "thread_exits")) { start(churns); start(exits); for (;;) pause(); }
    if (!strcmp(way, "thread_leaves")) { start(churns); start(leaves); for (;;) pause(); }
    if (!strcmp(way, "threads_at_end")) { start(churns); start(churns); nap(300); return number; }
    if (!strcmp(way, "waits")) { fflush(stdout); for (;;) pause(); }
    if (!strcmp(way, "ignores")) { signal(SIGTERM, SIG_IGN); fflush(stdout); nap(600); puts("did not mind"); return number; }
    if (!strcmp(way, "handles")) {
        signal(SIGTERM, runs_on);
        signal(SIGUSR1, runs_on);
        signal(SIGINT, runs_on);
        fflush(stdout);
        pause();
        return number;
    }
    if (!strcmp(way, "stops")) {
        pid_t us = getpid();
        fflush(stdout);
        if (fork() == 0) { nap(700); kill(us, SIGCONT); _exit(0); }
        raise(SIGSTOP);
        wait(NULL);
        puts("went on");
        return number;
    }
    if (!strcmp(way, "broken_pipe")) {
        int ends[2];
        if (pipe(ends)) return 97;
        close(ends[0]);
        if (number) signal(SIGPIPE, SIG_IGN);
        fflush(stdout);
        if (write(ends[1], "x", 1) < 0) perror("write");
        return 7;
    }
    fprintf(stderr, "ends: no way is called %s\n", way);
    return 98;
}
