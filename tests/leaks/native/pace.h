/* Does something at the rate that was asked for, beside noise and load, and says in the end what was kept. The parameters
   come from the environment: see python/pace.py. */

#ifndef PACE_H
#define PACE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double pace_number(const char *name, double otherwise) {
    const char *text = getenv(name);
    return text == NULL ? otherwise : atof(text);
}

static double pace_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Holds a random amount until it is called again. */
static void pace_noise(size_t most) {
    static void *held[64];
    for (size_t i = 0; i < 64; i++) {
        size_t bytes = most == 0 ? 0 : (size_t)rand() % (most / 32 + 1);
        free(held[i]);
        held[i] = bytes == 0 ? NULL : malloc(bytes);
        if (held[i] != NULL) {
            memset(held[i], 1, bytes);
        }
    }
}

static double pace_seconds(void) { return pace_number("LEAK_SECONDS", 12); }

static double pace_rate(void) { return pace_number("LEAK_RATE", 1 << 20); }

/* Calls `step` once per `item` bytes that are due, for the first `filling` seconds; then only noise and load go on. */
static void pace_until(void (*step)(long number), double item, double filling) {
    double seconds = pace_seconds(), rate = pace_rate(), load = pace_number("LEAK_LOAD", 0);
    size_t noise = (size_t)pace_number("LEAK_NOISE", 0);
    double begun = pace_now(), passed;
    long items = 0;
    srand((unsigned)pace_number("LEAK_SEED", 1));
    while ((passed = pace_now() - begun) < seconds) {
        double due = rate * (passed < filling ? passed : filling);
        for (; (double)(items + 1) * item <= due; items++) {
            step(items);
        }
        pace_noise(noise);
        double end = pace_now() + 0.02 * load;
        while (pace_now() < end) {
        }
        usleep((useconds_t)(20000 * (1 - load)));
    }
    printf("kept %.0f\n", (double)items * item);
}

__attribute__((unused)) static void pace_run(void (*step)(long number), double item) { pace_until(step, item, pace_seconds()); }

#endif
