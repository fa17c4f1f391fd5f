/* Plain C: keeps what it allocates at a constant rate (--leak native), or gives it back (--leak none). */

#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* One record, as malloc counts it: with its header of 8 bytes. */
enum { RECORD_BYTES = 1008 };

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void *remember(void *older) {
    void **record = malloc(RECORD_BYTES - 8);
    if (record == NULL)
        exit(1);
    memset(record, 'r', RECORD_BYTES - 8);
    record[0] = older;
    return record;
}

int main(int count, char **words) {
    int leaks = 0;
    double rate = 1 << 20, seconds = 5;
    for (int i = 1; i + 1 < count; i += 2) {
        if (strcmp(words[i], "--leak") == 0)
            leaks = strcmp(words[i + 1], "native") == 0;
        else if (strcmp(words[i], "--rate") == 0)
            rate = atof(words[i + 1]);
        else if (strcmp(words[i], "--seconds") == 0)
            seconds = atof(words[i + 1]);
        else {
            fprintf(stderr, "usage: %s [--leak none|native] [--rate BYTES_PER_SECOND] [--seconds N]\n", words[0]);
            return 2;
        }
    }
    double begun = now(), passed;
    void *newest = NULL;
    long records = 0;
    while ((passed = now() - begun) < seconds) {
        struct timespec pause = {0, 10 * 1000 * 1000};
        while ((double)(records + 1) * RECORD_BYTES <= passed * rate) {
            newest = remember(leaks ? newest : NULL);
            if (!leaks)
                free(newest);
            records++;
        }
        nanosleep(&pause, NULL);
    }
    printf("plain: %ld records %s, %ld bytes\n", records, leaks ? "kept" : "given back", records * RECORD_BYTES);
    return 0;
}
