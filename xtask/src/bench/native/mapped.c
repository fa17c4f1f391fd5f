/* A process that is hard to read: many mappings, and many free chunks in malloc's lists.
 * Arguments: mappings, free chunks, seconds to stay. Knows nothing of leakline. */

#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Large enough to stay out of the lists that are by thread and without coalescing. */
enum { PAGE = 4096, CHUNK = 1200 };

/* Neighbours that differ in what they allow cannot become one mapping. */
static int map(long count) {
    char *memory = mmap(NULL, (size_t)count * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return 0;
    for (long page = 0; page < count; page++) {
        memory[page * PAGE] = 1;
        if (page % 2 && mprotect(memory + page * PAGE, PAGE, PROT_READ) != 0) return 0;
    }
    return 1;
}

/* Every second block is freed, so that no two free ones are neighbours. */
static int free_chunks(long count) {
    char **blocks = calloc((size_t)count * 2, sizeof *blocks);
    if (!blocks) return 0;
    for (long block = 0; block < count * 2; block++) {
        blocks[block] = malloc(CHUNK);
        if (!blocks[block]) return 0;
        *blocks[block] = 1;
    }
    for (long block = 0; block < count * 2; block += 2) free(blocks[block]);
    return 1;
}

int main(int count, char **arguments) {
    if (count != 4) return 2;
    if (!map(atol(arguments[1])) || !free_chunks(atol(arguments[2]))) return 1;
    for (int left = atoi(arguments[3]) * 10; left > 0; left--) usleep(100000);
    return 0;
}
