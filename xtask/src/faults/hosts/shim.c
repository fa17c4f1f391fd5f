// Makes calls fail, and clocks jump, when the program that it is preloaded into asks for it, or its environment does.
// What is counted by thread is the program's own; what lies in the shared page holds in processes forked from it, too.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct shared {
    // Added to what the clocks say, in nanoseconds.
    volatile long long real_offset, boot_offset;
    // The n-th write into a recording fails, and so do those after it, as many as are said.
    volatile long writes, fail_write_at, fail_writes, write_error;
};
static struct shared *shared;
static __thread long until_allocation __attribute__((tls_model("initial-exec")));
static __thread long until_write __attribute__((tls_model("initial-exec")));
static __thread int write_error __attribute__((tls_model("initial-exec")));
static volatile long until_thread;

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);

__attribute__((constructor(101))) static void begin(void)
{
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const char *writes = getenv("FAULT_WRITES");
    if (writes) {
        long at = 0, count = 0, error = 0;
        sscanf(writes, "%ld:%ld:%ld", &at, &count, &error);
        shared->write_error = error;
        shared->fail_writes = count;
        shared->fail_write_at = at;
    }
}

void fault_allocation(long nth) { until_allocation = nth; }
void fault_write(long nth, int error) { write_error = error; until_write = nth; }
void fault_thread(long nth) { until_thread = nth; }
void fault_clock(long long real_seconds, long long boot_seconds)
{
    shared->real_offset += real_seconds * 1000000000LL;
    shared->boot_offset += boot_seconds * 1000000000LL;
}

static int fails(void) { return until_allocation > 0 && --until_allocation == 0 ? (errno = ENOMEM, 1) : 0; }

void *malloc(size_t size) { return fails() ? NULL : __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return fails() ? NULL : __libc_calloc(count, size); }
void *realloc(void *block, size_t size) { return fails() ? NULL : __libc_realloc(block, size); }
void *aligned_alloc(size_t alignment, size_t size) { return fails() ? NULL : __libc_memalign(alignment, size); }
int posix_memalign(void **block, size_t alignment, size_t size)
{
    if (fails()) return ENOMEM;
    *block = __libc_memalign(alignment, size);
    return *block ? 0 : ENOMEM;
}

static int is_recording(int file)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    return length > 5 && !strncmp(path + length - 5, ".leak", 5);
}

static int write_fails(int file)
{
    if (until_write > 0 && --until_write == 0) { errno = write_error; return 1; }
    if (!shared || !shared->fail_write_at || !is_recording(file)) return 0;
    long number = __sync_add_and_fetch(&shared->writes, 1);
    if (number < shared->fail_write_at || number >= shared->fail_write_at + shared->fail_writes) return 0;
    errno = shared->write_error;
    return 1;
}

#define NEXT(name) static __typeof__(name) *next; if (!next) next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

ssize_t write(int file, const void *bytes, size_t size) { NEXT(write); return write_fails(file) ? -1 : next(file, bytes, size); }
ssize_t writev(int file, const struct iovec *parts, int count) { NEXT(writev); return write_fails(file) ? -1 : next(file, parts, count); }
ssize_t pwrite64(int file, const void *bytes, size_t size, off64_t at) { NEXT(pwrite64); return write_fails(file) ? -1 : next(file, bytes, size, at); }

int pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*what)(void *), void *with)
{
    NEXT(pthread_create);
    if (until_thread > 0 && __sync_sub_and_fetch(&until_thread, 1) == 0) return EAGAIN;
    return next(thread, how, what, with);
}

static void add(struct timespec *time, long long offset)
{
    long long all = time->tv_sec * 1000000000LL + time->tv_nsec + offset;
    time->tv_sec = all / 1000000000LL;
    time->tv_nsec = all % 1000000000LL;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    NEXT(clock_gettime);
    int failed = next(clock, time);
    if (failed || !shared) return failed;
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) add(time, shared->real_offset);
    if (clock == CLOCK_BOOTTIME) add(time, shared->boot_offset);
    return 0;
}
time_t time(time_t *where)
{
    struct timespec now = {0, 0};
    clock_gettime(CLOCK_REALTIME, &now);
    if (where) *where = now.tv_sec;
    return now.tv_sec;
}
