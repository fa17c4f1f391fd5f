// A program whose forked child keeps what it allocates: tree SECONDS THREADS. The parent has so many busy threads, which
// allocate, too, and keep nothing.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile int ends;

__attribute__((noinline)) void *keep(size_t bytes) {
    char *block = malloc(bytes);
    memset(block, 1, bytes);
    return block;
}

__attribute__((noinline)) static void keep_and_forget(void) {
    char *kept = keep(10240);
    __asm__ volatile("" : : "r"(kept) : "memory");
}

static void *busy(void *unused) {
    while (!ends) {
        char *block = malloc(3000);
        block[0] = 1;
        __asm__ volatile("" : : "r"(block) : "memory");
        free(block);
    }
    return unused;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    double seconds = argc > 1 ? atof(argv[1]) : 5;
    int count = argc > 2 ? atoi(argv[2]) : 0;
    pthread_t threads[64];
    for (int i = 0; i < count; i++) pthread_create(&threads[i], NULL, busy, NULL);
    pid_t child = fork();
    if (child == 0) {
        double begun = now(), passed;
        long done = 0;
        while ((passed = now() - begun) < seconds) {
            for (; done < passed * 100; done++) keep_and_forget();
            usleep(2000);
        }
        exit(7);
    }
    usleep(1000000);
    ends = 1;
    for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
    int status = 0;
    waitpid(child, &status, 0);
    printf("%d\n", WEXITSTATUS(status));
    return 0;
}
