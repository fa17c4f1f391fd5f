// A program that brings a malloc of its own, as one that links jemalloc into itself does.
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char memory[64 << 20] __attribute__((aligned(16)));
static size_t used;

void *malloc(size_t size) {
  size_t *block = (size_t *)(memory + __atomic_fetch_add(&used, (size + 31) & ~(size_t)15, __ATOMIC_RELAXED));
  if ((char *)block + size + 16 > memory + sizeof memory) return NULL;
  block[0] = size;
  return block + 2;
}

void free(void *block) { (void)block; }

void *calloc(size_t count, size_t each) {
  void *block = malloc(count * each);
  return block == NULL ? NULL : memset(block, 0, count * each);
}

void *realloc(void *block, size_t size) {
  void *grown = malloc(size);
  if (grown == NULL || block == NULL) return grown;
  size_t old = ((size_t *)block)[-2];
  return memcpy(grown, block, old < size ? old : size);
}

int main(void) {
  char *volatile kept = NULL;
  for (int second = 0; second < 15; second++) {
    for (int block = 0; block < 1000; block++) kept = malloc(500);
    usleep(100000);
  }
  puts(kept != NULL ? "done" : "failed");
  return 0;
}
