// Allocates over as many call paths as there are numbers, keeps nothing: what ordinary recursive code does in ten minutes.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void left(unsigned path, int depth);
static void right(unsigned path, int depth);

static void allocate(void)
{
    volatile char *block = malloc(6000);
    block[0] = 1;
    free((void *)block);
}

__attribute__((noinline)) static void step(unsigned path, int depth)
{
    if (depth == 0) allocate();
    else if (path & 1) left(path >> 1, depth - 1);
    else right(path >> 1, depth - 1);
    __asm__ volatile("");
}
__attribute__((noinline)) static void left(unsigned path, int depth) { step(path, depth); __asm__ volatile("" ::: "memory"); }
__attribute__((noinline)) static void right(unsigned path, int depth) { step(path, depth); __asm__ volatile(" " ::: "memory"); }

int main(int count, char **words)
{
    unsigned paths = count > 1 ? (unsigned)atoi(words[1]) : 100000;
    for (unsigned path = 0; path < paths; path++) step(path, 20);
    printf("%u call paths\n", paths);
    return 0;
}
