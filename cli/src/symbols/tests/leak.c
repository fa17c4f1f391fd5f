/* Calls that are inlined when optimised, and some that are not. */
#include <stdlib.h>

static void *kept[64];

static inline void *fill(size_t bytes) {
    char *block = malloc(bytes);
    for (size_t i = 0; block && i < bytes; i++)
        block[i] = (char)i;
    return block;
}

static inline void hold(int slot, size_t bytes) {
    kept[slot & 63] = fill(bytes);
}

__attribute__((noinline)) void leak_here(int slot) {
    hold(slot, 4096);
    if (slot > 3)
        hold(slot + 1, 64);
}

int main(int argc, char **argv) {
    (void)argv;
    for (int slot = 0; slot < argc; slot++)
        leak_here(slot);
    return kept[0] == NULL;
}
