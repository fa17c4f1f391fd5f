/* Measures pairs of malloc and free: each replaces a block of a ring, chosen at random, so that blocks die in another
 * order than they were born. The calls come from below forty frames.
 *
 * Arguments: smallest size, largest size, pairs a turn, idle threads beside. BENCH_WAIT: milliseconds until whatever watches has begun.
 * Each line on standard input asks for a turn and is answered with a line: nanoseconds of processor time a pair.
 * Knows nothing of leakline. */

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "frames.h"

enum { BLOCKS = 4096, WARM_UPS = 2 };

struct turn {
    uint64_t random;
    uint64_t smallest;
    uint64_t sizes;
    uint64_t pairs;
};

static char *ring[BLOCKS];

/* The ring is the same memory for each turn, so the compiler must believe that someone reads it. */
static void replace(void *argument) {
    struct turn *turn = argument;
    uint64_t random = turn->random;
    for (uint64_t left = turn->pairs; left; left--) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        char **block = &ring[random % BLOCKS];
        size_t size = turn->smallest + (((random >> 32) * turn->sizes) >> 32);
        free(*block);
        *block = malloc(size);
        **block = 1;
    }
    turn->random = random;
}

static double processor_nanoseconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static double measured(struct turn *turn) {
    double begun = processor_nanoseconds();
    deep_40(replace, turn);
    return (processor_nanoseconds() - begun) / (double)turn->pairs;
}

static void *idle(void *nothing) {
    for (;;) pause();
    return nothing;
}

int main(int count, char **arguments) {
    if (count != 5) return 2;
    for (int threads = atoi(arguments[4]); threads; threads--) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, idle, NULL)) return 3;
    }
    uint64_t smallest = strtoull(arguments[1], NULL, 10), largest = strtoull(arguments[2], NULL, 10);
    struct turn turn = {88172645463325252, smallest, largest - smallest + 1, strtoull(arguments[3], NULL, 10)};
    const char *wait = getenv("BENCH_WAIT");
    if (wait) usleep((useconds_t)strtoul(wait, NULL, 10) * 1000);
    for (int round = 0; round < WARM_UPS; round++) measured(&turn);
    puts("ready");
    fflush(stdout);
    for (int byte; (byte = getc(stdin)) != EOF;) {
        if (byte != '\n') continue;
        printf("%.4f\n", measured(&turn));
        fflush(stdout);
    }
    return 0;
}
