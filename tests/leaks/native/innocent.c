/* C programs whose memory grows, moves or stays, and that must not be called leaks; the argument says which. */

#define _GNU_SOURCE
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "pace.h"

#define SIZE 4000
/* The slowest pace fills it within two seconds. */
#define SLOTS 125

static char *ring[SLOTS];

static void put_in_ring(long number) {
    free(ring[number % SLOTS]);
    ring[number % SLOTS] = malloc(SIZE);
    memset(ring[number % SLOTS], 1, SIZE);
}

static void keep(long number) {
    (void)number;
    char *block = malloc(SIZE);
    memset(block, 1, SIZE);
    __asm__ volatile("" : : "r"(block) : "memory");
}

/* Of each burst one small block in forty stays for a while, and holds the heap's pages that the others gave back. */
static void fragment(long number) {
    static void *pins[4096];
    char *blocks[40];
    for (int i = 0; i < 40; i++) {
        blocks[i] = malloc(1600);
        memset(blocks[i], 1, 1600);
    }
    free(pins[number % 4096]);
    pins[number % 4096] = malloc(24);
    for (int i = 0; i < 40; i++) {
        free(blocks[i]);
    }
}

/* Of each block a few bytes stay, at its beginning, and hold what comes after it. No later block fits into what was given
   back, so the heap grows by a block each time, and malloc's live bytes hardly at all. */
static void holes(long number) {
    static char *last;
    char *block = malloc(65536 + (size_t)number * 16);
    memset(block, 1, 65536);
    if (last != NULL && realloc(last, 24) != last) {
        abort();
    }
    last = block;
}

static void *nothing(void *argument) { return argument; }

static void join_thread(long number) {
    pthread_t thread;
    (void)number;
    pthread_create(&thread, NULL, nothing, NULL);
    pthread_join(thread, NULL);
}

static void map_and_unmap(long number) {
    char *pages = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages != MAP_FAILED) {
        memset(pages, (int)number, 1 << 20);
        munmap(pages, 1 << 20);
    }
}

static void open_and_close(long number) {
    int pair[2];
    (void)number;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0) {
        close(pair[0]);
        close(pair[1]);
    }
}

static void spike(long number) {
    static char *all[2000];
    if (number == 20) {
        for (int i = 0; i < 2000; i++) {
            all[i] = malloc(8000);
            memset(all[i], 1, 8000);
        }
        for (int i = 0; i < 1999; i++) {
            free(all[i]);
        }
    }
}

int main(int count, char **words) {
    const char *which = count > 1 ? words[1] : "";
    setvbuf(stdout, NULL, _IOLBF, 0);
    static const struct {
        const char *name;
        void (*step)(long);
        double item, filling;
    } programs[] = {
        {"ring", put_in_ring, SIZE, 1},     {"warm-up", keep, SIZE, 0.2},      {"churn", fragment, 64000, 1},
        {"holes", holes, 65536, 1},         {"joined", join_thread, 65536, 1}, {"unmapped", map_and_unmap, 1 << 20, 1},
        {"closed", open_and_close, 8192, 1}, {"spike", spike, 65536, 1},
    };
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        if (strcmp(programs[i].name, which) == 0) {
            /* Noise between the blocks would come and go, and leave room for the next one. */
            if (programs[i].step == holes) {
                setenv("LEAK_NOISE", "0", 1);
            }
            pace_until(programs[i].step, programs[i].item, programs[i].filling * pace_seconds());
            return 0;
        }
    }
    fprintf(stderr, "no program is called %s\n", which);
    return 2;
}
