// A program under load that does to itself what its arguments say, one after the other, and tells what came of each. The same
// arguments have the same output, unless somebody interferes. `load THREADS WORD...`, a word is KIND:A:B
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FILES 4

void fault_allocation(long nth) __attribute__((weak));
void fault_write(long nth, int error) __attribute__((weak));
void fault_thread(long nth) __attribute__((weak));
void fault_clock(long long real, long long boot) __attribute__((weak));

static int files[FILES], lines[FILES];
static volatile int stop, came[65];

static void nap(int microseconds)
{
    struct timespec left = {microseconds / 1000000, microseconds % 1000000 * 1000L};
    while (nanosleep(&left, &left) && errno == EINTR) {}
}

static void caught(int which) { came[which]++; }

static void handle(int which, void (*how)(int), int flags)
{
    struct sigaction action = {.sa_handler = how, .sa_flags = flags};
    sigaction(which, &action, NULL);
}

// Blocks with a pattern, which must be there when they are given back.
static void churn_once(unsigned *seed)
{
    static __thread struct { unsigned char *block; size_t size; } kept[32];
    int place = rand_r(seed) % 32;
    if (kept[place].block) {
        size_t at = rand_r(seed) % kept[place].size;
        if (kept[place].block[at] != (unsigned char)place) { fputs("a block was changed\n", stderr); _exit(90); }
        if (rand_r(seed) % 4 == 0) {
            kept[place].block = realloc(kept[place].block, kept[place].size * 2);
            memset(kept[place].block, place, kept[place].size * 2);
        }
        free(kept[place].block);
    }
    kept[place].size = 1 + rand_r(seed) % (rand_r(seed) % 50 ? 3000 : 300000);
    kept[place].block = malloc(kept[place].size);
    if (kept[place].block) memset(kept[place].block, place, kept[place].size);
}

static void *churns(void *number)
{
    unsigned seed = (unsigned)(size_t)number;
    sigset_t all;
    sigfillset(&all);
    // Half of them take the signals, too.
    if (seed % 2) pthread_sigmask(SIG_BLOCK, &all, NULL);
    while (!stop) churn_once(&seed);
    return NULL;
}
static void *nothing(void *unused) { return unused; }
static void *exits(void *status) { exit((int)(size_t)status); }

static int is_own(int file)
{
    for (int i = 0; i < FILES; i++) if (files[i] == file) return 1;
    return 0;
}

static void write_lines(void)
{
    char line[32];
    for (int i = 0; i < FILES; i++) {
        int length = snprintf(line, sizeof line, "line %d\n", lines[i]++);
        if (pwrite(files[i], line, length, 0) < 0 || lseek(files[i], 0, SEEK_END) < 0) perror("its own file");
        while (write(files[i], line, length) < 0) if (errno != EINTR) { perror("its own file"); break; }
    }
}

static int children(const char *way, int count)
{
    char *words[] = {"true", NULL};
    volatile int well = 0;
    for (int i = 0; i < count; i++) {
        pid_t child = -1;
        int status = -1;
        if (!strcmp(way, "fork") && (child = fork()) == 0) { free(malloc(i)); _exit(7); }
        if (!strcmp(way, "fork_exit") && (child = fork()) == 0) { fclose(stdout); exit(7); }
        if (!strcmp(way, "fork_exec") && (child = fork()) == 0) { execv("/bin/false", words); _exit(9); }
        if (!strcmp(way, "vfork") && (child = vfork()) == 0) { execv("/bin/false", words); _exit(9); }
        if (!strcmp(way, "spawn") && posix_spawn(&child, "/bin/false", NULL, NULL, words, environ)) child = -1;
        if (!strcmp(way, "clone") && (child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)) == 0) syscall(SYS_exit_group, 7);
        while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {}
        well += child > 0 && WIFEXITED(status) && (WEXITSTATUS(status) == 7 || WEXITSTATUS(status) == 1);
    }
    return well;
}

static int allocation_fails(long nth)
{
    static void *blocks[40];
    int missing = -1;
    if (fault_allocation) fault_allocation(nth);
    for (int i = 0; i < 40; i++) {
        blocks[i] = i % 3 == 0 ? calloc(7, 1000 + i) : i % 3 == 1 ? malloc(100 << (i % 12)) : realloc(NULL, 64 + i);
        if (!blocks[i] && missing < 0) missing = i;
    }
    if (fault_allocation) fault_allocation(0);
    for (int i = 0; i < 40; i++) free(blocks[i]);
    return missing;
}

static int takes_all(long mebibytes)
{
    static void *blocks[4000];
    struct rlimit old, small;
    int taken = 0;
    char *again;
    getrlimit(RLIMIT_AS, &old);
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld", &pages) != 1) return -1;
    fclose(file);
    small = old;
    small.rlim_cur = pages * 4096UL + ((unsigned long)mebibytes << 20);
    setrlimit(RLIMIT_AS, &small);
    for (long size = 1 << 20; size >= 1024; size /= 4)
        while (taken < 4000 && (blocks[taken] = malloc(size))) taken++;
    nap(60000);
    while (taken) free(blocks[--taken]);
    again = malloc(1 << 19);
    setrlimit(RLIMIT_AS, &old);
    free(again);
    return again != NULL;
}

static int signals(int which, int how, int count)
{
    if (how == 0) handle(which, caught, SA_RESTART);
    if (how == 1) handle(which, caught, 0);
    if (how == 2) handle(which, SIG_IGN, 0);
    if (how == 3) handle(which, caught, SA_ONSTACK | SA_NODEFER | SA_RESTART);
    came[which] = 0;
    for (int i = 0; i < count; i++) { kill(getpid(), which); nap(1000); }
    nap(2000);
    return how == 2 ? came[which] == 0 : came[which] > 0;
}

// By the kernel's timer, each millisecond, while it works.
static int ticking(int milliseconds)
{
    struct itimerval fast = {{0, 1000}, {0, 1000}}, off = {{0, 0}, {0, 0}};
    unsigned seed = 5;
    handle(SIGALRM, caught, milliseconds % 2 ? SA_RESTART : 0);
    came[SIGALRM] = 0;
    setitimer(ITIMER_REAL, &fast, NULL);
    // A short time may be over before the first tick, on a machine that is quick.
    for (int i = 0; i < milliseconds * 20 || (!came[SIGALRM] && i < 100000); i++) { churn_once(&seed); if (i % 20 == 0) nap(500); }
    setitimer(ITIMER_REAL, &off, NULL);
    return came[SIGALRM] > 0;
}

static int libraries(int times)
{
    static const char *const names[] = {"libm.so.6", "libz.so.1", "libsqlite3.so.0", "libresolv.so.2", "libstdc++.so.6", "libcrypto.so.3"};
    int well = 0;
    for (int i = 0; i < times; i++) {
        void *library = dlopen(names[i % 6], i % 2 ? RTLD_NOW : RTLD_LAZY);
        free(malloc(5000));
        well += !library || dlclose(library) == 0;
    }
    return well;
}

static int threads(int fails_at)
{
    pthread_t started[16];
    int count = 0;
    if (fault_thread) fault_thread(fails_at);
    while (count < 16 && pthread_create(&started[count], NULL, nothing, NULL) == 0) count++;
    if (fault_thread) fault_thread(0);
    for (int i = 0; i < count; i++) pthread_join(started[i], NULL);
    return count;
}

static int fails_to_write(int nth, int error)
{
    int pipes[2], failed = -1;
    char byte;
    if (pipe(pipes)) return -2;
    if (fault_write) fault_write(nth, error);
    for (int i = 1; i <= 8; i++) if (write(pipes[1], "x", 1) < 0 && failed < 0) failed = i;
    if (fault_write) fault_write(0, 0);
    while (failed != 1 && read(pipes[0], &byte, 1) == 1) { close(pipes[1]); pipes[1] = -1; }
    close(pipes[0]);
    if (pipes[1] >= 0) close(pipes[1]);
    return failed;
}

static int few_files(void)
{
    struct rlimit old, few;
    getrlimit(RLIMIT_NOFILE, &old);
    few = old;
    few.rlim_cur = 8;
    setrlimit(RLIMIT_NOFILE, &few);
    nap(120000);
    int file = open("/dev/null", O_RDONLY), error = file < 0 ? errno : 0;
    if (file >= 0) close(file);
    setrlimit(RLIMIT_NOFILE, &old);
    return error == 0 || error == EMFILE;
}

static void closes(int from, int to)
{
    for (int i = from; i <= to; i++) if (i > 2 && !is_own(i)) close(i);
}

static int maps(int count)
{
    int well = 0;
    for (int i = 0; i < count; i++) {
        char *pages = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (pages == MAP_FAILED) continue;
        pages[0] = 1;
        mprotect(pages, 65536, PROT_READ);
        pages = mremap(pages, 65536, 131072, MREMAP_MAYMOVE);
        well += munmap(pages, 131072) == 0;
    }
    return well;
}

static void end(int how)
{
    // What still comes from outside meets no program that has begun to end.
    for (const int *which = (const int[]){10, 16, 34, 40, 64, 0}; *which; which++) handle(*which, SIG_IGN, 0);
    stop = how % 2;
    if (how == 0) exit(11);
    if (how == 1) { fflush(stdout); _exit(12); }
    if (how == 2) quick_exit(13);
    if (how == 3) { fflush(stdout); handle(SIGABRT, SIG_DFL, 0); abort(); }
    if (how == 4) { fflush(stdout); kill(getpid(), SIGKILL); }
    if (how == 5) { fflush(stdout); handle(SIGSEGV, SIG_DFL, 0); raise(SIGSEGV); }
    if (how == 6) { pthread_t last; pthread_create(&last, NULL, exits, (void *)14); pthread_exit(NULL); }
    if (how == 7) { fflush(stdout); execl("/bin/sh", "sh", "-c", "echo another program; exit 15", NULL); }
    if (how == 8) { fflush(stdout); handle(SIGTERM, SIG_DFL, 0); raise(SIGTERM); }
    if (how == 9) { stop = 1; fflush(stdout); syscall(SYS_exit, 0); }
}

int main(int count, char **words)
{
    static char stack[1 << 16];
    stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    pthread_t threads_started[16];
    int many = count > 1 ? atoi(words[1]) : 0;
    unsigned seed = 1;
    char name[32];
    sigaltstack(&other, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < 65; i++)
        if (i != SIGKILL && i != SIGSTOP && i != SIGSEGV && i != SIGBUS && i != SIGFPE && i != SIGILL && i != SIGCHLD && i != 32 && i != 33)
            handle(i, caught, SA_RESTART);
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "own-%d", i);
        files[i] = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
        if (files[i] < 0) { perror(name); return 91; }
    }
    for (int i = 0; i < many; i++) pthread_create(&threads_started[i], NULL, churns, (void *)(size_t)(i + 1));
    nap(250000);
    int how = -1;
    for (int i = 2; i < count; i++) {
        char kind[32];
        int a = 0, b = 0, result = 0;
        sscanf(words[i], "%31[^:]:%d:%d", kind, &a, &b);
        if (!strcmp(kind, "end")) { how = a; continue; }
        if (!strcmp(kind, "close")) closes(a, a);
        else if (!strcmp(kind, "closes")) closes(3, 1024);
        else if (!strcmp(kind, "over")) { if (a > 2 && !is_own(a) && dup2(files[0], a) == a) { closes(files[0], files[0]); close(files[0]); files[0] = a; } }
        else if (!strcmp(kind, "signal")) result = signals(a, b, 3);
        else if (!strcmp(kind, "ticking")) result = ticking(a);
        else if (!strcmp(kind, "allocation")) result = allocation_fails(a);
        else if (!strcmp(kind, "memory")) result = takes_all(a);
        else if (!strcmp(kind, "libraries")) result = libraries(a);
        else if (!strcmp(kind, "threads")) result = threads(a);
        else if (!strcmp(kind, "write")) result = fails_to_write(a, b);
        else if (!strcmp(kind, "few_files")) result = few_files();
        else if (!strcmp(kind, "maps")) result = maps(a);
        else if (!strcmp(kind, "clock")) { if (fault_clock) fault_clock(a, 0); }
        else if (!strcmp(kind, "suspend")) { if (fault_clock) fault_clock(a, a); }
        else result = children(kind, a);
        printf("%s: %d\n", words[i], result);
        for (int j = 0; j < 50; j++) churn_once(&seed);
        write_lines();
        nap(i * 131 % 9000);
    }
    for (int i = 0; i < FILES; i++) {
        char line[32], text[32] = "";
        snprintf(line, sizeof line, "line %d\n", lines[i] - 1);
        int length = strlen(line);
        if (lines[i] && (pread(files[i], text, length, lseek(files[i], 0, SEEK_END) - length) != length || strcmp(text, line)))
            printf("file %d was changed: %s\n", i, text);
    }
    printf("done\n");
    end(how);
    stop = 1;
    return 10;
}
