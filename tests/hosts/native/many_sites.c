// Allocates at sixteen call paths and keeps a different share of each: two tools that watch it must agree on which keep
// most. Deterministic. Argument: milliseconds to stay alive in the end.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
#define STAYS __asm__ volatile("" ::: "memory")

// Some is freed at once, so that what was allocated is not what is kept.
NOINLINE static void keep(size_t size, int kept, int freed) {
  for (int block = 0; block < kept + freed; block++) {
    char *memory = malloc(size);
    memory[0] = 1;
    if (block % (kept + freed) < freed) free(memory);
  }
  STAYS;
}

// Kept bytes grow by half from one to the next, in an order that is not that of the code.
#define SITES(site)                                                                                                    \
  site(a, 100, 1000, 9000) site(b, 2000, 3844, 10) site(c, 24, 9375, 100) site(d, 700, 16272, 1) site(e, 64, 5273, 500) \
  site(f, 4096, 4171, 3) site(g, 333, 1520, 20) site(h, 50, 512578, 50) site(i, 1000, 759, 100)                        \
  site(j, 90000, 427, 2) site(k, 40, 28477, 9) site(l, 300000, 192, 1) site(m, 512, 3337, 0) site(n, 16, 160181, 7)    \
  site(o, 8192, 10567, 11) site(p, 150, 300, 4000)

#define FUNCTION(name, size, kept, freed)                                                                              \
  NOINLINE void site_##name(void) {                                                                                    \
    keep(size, kept, freed);                                                                                           \
    STAYS;                                                                                                             \
  }
SITES(FUNCTION)

#define CALL(name, size, kept, freed) site_##name();
#define TELL(name, size, kept, freed) printf("site_" #name " %zu\n", (size_t)(size) * (kept));

int main(int count, char **arguments) {
  if (count != 2) return 2;
  SITES(CALL)
  usleep((useconds_t)atoi(arguments[1]) * 1000);
  SITES(TELL)
  return 0;
}
