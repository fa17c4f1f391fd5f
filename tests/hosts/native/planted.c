// Allocates at a few known call paths, and keeps known numbers of bytes: what leakline says can be held against it.
// Arguments: rounds, milliseconds from one to the next, and milliseconds to stay in the end. Prints `NAME BYTES` of what
// is live in the end.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
// So that a caller stays on the stack: what is called last would otherwise take its place.
#define STAYS __asm__ volatile("" ::: "memory")

static size_t live_small, live_large, live_string, live_zeroed, live_aligned, live_grown, live_array, live_mapped;

NOINLINE void small_leak(void) {
  for (int block = 0; block < 1000; block++) {
    char *memory = malloc(100);
    memory[0] = 1;
    live_small += 100;
  }
  STAYS;
}

NOINLINE void large_leak(void) {
  char *memory = malloc(300000);
  memory[0] = 1;
  live_large += 300000;
  STAYS;
}

NOINLINE void string_leak(const char *text) {
  for (int copy = 0; copy < 1000; copy++) {
    char *memory = strdup(text);
    memory[0] = 1;
    live_string += strlen(text) + 1;
  }
  STAYS;
}

NOINLINE void zeroed_leak(void) {
  char *memory = calloc(100, 1000);
  memory[0] = 1;
  live_zeroed += 100000;
  STAYS;
}

NOINLINE void aligned_leak(void) {
  void *memory = NULL;
  if (posix_memalign(&memory, 4096, 50000) != 0) abort();
  *(char *)memory = 1;
  live_aligned += 50000;
  STAYS;
}

NOINLINE void grown_leak(void) {
  static char *memory;
  live_grown += 70000;
  memory = realloc(memory, live_grown);
  memory[0] = 1;
  STAYS;
}

NOINLINE void array_leak(void) {
  char *memory = reallocarray(NULL, 100, 400);
  memory[0] = 1;
  live_array += 40000;
  STAYS;
}

NOINLINE void mapped_leak(void) {
  size_t size = 64 * 4096;
  char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) abort();
  memset(memory, 1, size);
  // The last quarter is given back.
  munmap(memory + 48 * 4096, 16 * 4096);
  live_mapped += 48 * 4096;
  STAYS;
}

NOINLINE void all_is_freed(void) {
  for (int block = 0; block < 10000; block++) {
    char *memory = malloc(block % 3000 + 1);
    memory[0] = 1;
    free(memory);
  }
  STAYS;
}

int main(int count, char **arguments) {
  if (count != 4) return 2;
  int rounds = atoi(arguments[1]);
  for (int round = 0; round < rounds; round++) {
    small_leak();
    large_leak();
    string_leak("a string of some length, as it might stand in a message that somebody sends to somebody");
    zeroed_leak();
    aligned_leak();
    grown_leak();
    array_leak();
    mapped_leak();
    all_is_freed();
    usleep((useconds_t)atoi(arguments[2]) * 1000);
  }
  usleep((useconds_t)atoi(arguments[3]) * 1000);
  printf("small_leak %zu\nlarge_leak %zu\nstring_leak %zu\nzeroed_leak %zu\n", live_small, live_large, live_string, live_zeroed);
  printf("aligned_leak %zu\ngrown_leak %zu\narray_leak %zu\nmapped_leak %zu\n", live_aligned, live_grown, live_array, live_mapped);
  puts("all_is_freed 0");
  return 0;
}
