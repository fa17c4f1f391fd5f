/* Holds some 40 MB of malloc's in sizes of all kinds, with holes between them, and blocks that were never touched. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCKS = 60000 };

int main(int count, char **words) {
    static char *held[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        size_t size = 16 + (size_t)(i * 2654435761u % 1200);
        held[i] = malloc(size);
        if (held[i]) memset(held[i], i, size);
    }
    for (int i = 0; i < BLOCKS; i += 3) free(held[i]);
    char *large = malloc(6 << 20), *untouched = calloc(1, 200 << 20), *trimmed = malloc(1 << 20);
    if (!large || !untouched || !trimmed) return 1;
    memset(large, 1, 6 << 20);
    sleep(count > 1 ? (unsigned)atoi(words[1]) : 3);
    return large[5] + untouched[7] == 1 ? 0 : 1;
}
