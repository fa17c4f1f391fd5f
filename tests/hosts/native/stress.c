// Does with malloc, in many ways at once, what hosts do, and frees everything in the end. What is asked for is the first
// argument, for how many seconds the second. Ends with 0 and the word "done".
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 4096
#define CHECK(what) \
  do { \
    if (!(what)) { \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what); \
      abort(); \
    } \
  } while (0)

static time_t end;
static _Atomic(unsigned char *) slots[SLOTS];

static int is_over(void) { return time(NULL) >= end; }

static uint64_t next(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

static size_t any_size(uint64_t random) {
  switch (random % 16) {
  case 0: return random >> 8 & 0x1fffff;
  case 1: case 2: return random >> 8 & 0xffff;
  default: return random >> 8 & 0x3ff;
  }
}

// The first bytes of a block say how it was filled, so that one that was handed out twice is noticed.
static unsigned char *fill(void *block, size_t size) {
  if (block != NULL && size > 0) memset(block, (unsigned char)size | 1, size < 32 ? size : 32);
  return block;
}

static __attribute__((noinline)) unsigned char *allocate(uint64_t *state) {
  size_t size = any_size(next(state)) + 1;
  void *block = NULL;
  switch (next(state) % 8) {
  case 0: block = calloc(size, 1); break;
  case 1: block = realloc(NULL, size); break;
  case 2: CHECK(posix_memalign(&block, 64, size) == 0); break;
  case 3: block = aligned_alloc(256, (size + 255) & ~(size_t)255); break;
  case 4: block = reallocarray(NULL, size, 1); break;
  case 5: block = realloc(malloc(size / 2 + 1), size); break;
  default: block = malloc(size);
  }
  CHECK(block != NULL);
  return fill(block, size);
}

static __attribute__((noinline)) void one_step(uint64_t *state) {
  _Atomic(unsigned char *) *slot = &slots[next(state) % SLOTS];
  if (next(state) % 8 == 0) {
    unsigned char *old = atomic_exchange(slot, NULL);
    unsigned char *moved = realloc(old, any_size(next(state)) + 1);
    CHECK(moved != NULL);
    free(atomic_exchange(slot, moved));
  } else {
    free(atomic_exchange(slot, next(state) % 3 ? allocate(state) : NULL));
  }
}

static __attribute__((noinline)) void deep(uint64_t *state, int frames) {
  if (frames == 0) one_step(state);
  else deep(state, frames - 1);
  __asm__ volatile("" ::: "memory");
}

static void *churn(void *seed) {
  uint64_t state = (uintptr_t)seed * 0x9E3779B97F4A7C15u | 1;
  while (!is_over())
    for (int step = 0; step < 1000; step++) deep(&state, (int)(next(&state) % 40));
  return NULL;
}

static void free_all(void) {
  for (int slot = 0; slot < SLOTS; slot++) free(atomic_exchange(&slots[slot], NULL));
}

static void run_threads(int count, void *(*work)(void *)) {
  pthread_t threads[64];
  for (int index = 0; index < count; index++)
    CHECK(pthread_create(&threads[index], NULL, work, (void *)(uintptr_t)(index + 1)) == 0);
  for (int index = 0; index < count; index++) CHECK(pthread_join(threads[index], NULL) == 0);
}

static void *short_life(void *seed) {
  uint64_t state = (uintptr_t)seed * 0x9E3779B97F4A7C15u | 1;
  for (int step = 0; step < 200; step++) one_step(&state);
  return NULL;
}

static void *starts_threads(void *seed) {
  while (!is_over()) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, short_life, seed) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    seed = (void *)((uintptr_t)seed + 64);
  }
  return NULL;
}

static void *maps_memory(void *seed) {
  uint64_t state = (uintptr_t)seed * 0x9E3779B97F4A7C15u | 1;
  while (!is_over()) {
    size_t pages = next(&state) % 64 + 4;
    char *memory = mmap(NULL, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    memory[4096] = 1;
    CHECK(munmap(memory, 4096) == 0);
    char *moved = mremap(memory + 4096, (pages - 1) * 4096, pages * 2 * 4096, MREMAP_MAYMOVE);
    CHECK(moved != MAP_FAILED && moved[0] == 1);
    CHECK(munmap(moved, pages * 2 * 4096) == 0);
  }
  return NULL;
}

static void *loads_and_unloads(void *seed) {
  (void)seed;
  while (!is_over()) {
    void *library = dlopen("libcodec.so", RTLD_NOW);
    CHECK(library != NULL);
    CHECK(dlclose(library) == 0);
  }
  return NULL;
}

static void *forks(void *seed) {
  uint64_t state = (uintptr_t)seed * 0x9E3779B97F4A7C15u | 1;
  while (!is_over()) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      for (int step = 0; step < 2000; step++) one_step(&state);
      free_all();
      if (next(&state) % 2) _exit(7);
      execl("/bin/sh", "sh", "-c", "exit 7", (char *)NULL);
      _exit(8);
    }
    int status;
    while (waitpid(child, &status, 0) < 0) CHECK(errno == EINTR);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
  }
  return NULL;
}

// What this thread may not be interrupted in: malloc itself is not safe in a handler that interrupts it.
static __thread volatile sig_atomic_t in_malloc;
static void *volatile kept_by_handler;

static void handler(int signal) {
  (void)signal;
  int before = errno;
  if (!in_malloc) {
    void *block = malloc(100000);
    free(kept_by_handler);
    kept_by_handler = block;
  }
  errno = before;
}

static void *computes(void *seed) {
  uint64_t state = (uintptr_t)seed * 0x9E3779B97F4A7C15u | 1;
  while (!is_over()) {
    in_malloc = 1;
    for (int step = 0; step < 50; step++) deep(&state, 20);
    in_malloc = 0;
    for (int step = 0; step < 20000; step++) next(&state);
  }
  return NULL;
}

static void with_signals(void) {
  sigset_t alarm, before;
  sigemptyset(&alarm);
  sigaddset(&alarm, SIGALRM);
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
  CHECK(sigaction(SIGALRM, &action, NULL) == 0);
  struct itimerval often = {{0, 300}, {0, 300}};
  CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
  computes((void *)1);
  struct itimerval never = {{0, 0}, {0, 0}};
  CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
  CHECK(pthread_sigmask(SIG_BLOCK, &alarm, &before) == 0);
  free(kept_by_handler);
}

static sigjmp_buf back;

static void overflowed(int signal) {
  (void)signal;
  // On a stack of a few kilobytes.
  for (int block = 0; block < 50; block++) free(malloc(30000));
  siglongjmp(back, 1);
}

static volatile int has_no_end = 1;

static __attribute__((noinline)) int overflow(volatile char *above) {
  volatile char block[4096];
  block[0] = above[0];
  return has_no_end ? overflow(block) + block[0] : 0;
}

static void *overflows(void *seed) {
  (void)seed;
  static __thread char small_stack[16384];
  stack_t stack = {.ss_sp = small_stack, .ss_size = sizeof small_stack};
  CHECK(sigaltstack(&stack, NULL) == 0);
  volatile char start = 0;
  while (!is_over())
    if (sigsetjmp(back, 1) == 0) overflow(&start);
  stack.ss_flags = SS_DISABLE;
  CHECK(sigaltstack(&stack, NULL) == 0);
  return NULL;
}

int main(int count, char **arguments) {
  CHECK(count == 3);
  const char *what = arguments[1];
  end = time(NULL) + atoi(arguments[2]);
  if (strcmp(what, "churn") == 0) run_threads(8, churn);
  else if (strcmp(what, "threads") == 0) run_threads(4, starts_threads);
  else if (strcmp(what, "maps") == 0) run_threads(4, maps_memory);
  else if (strcmp(what, "loads") == 0) {
    pthread_t loader;
    CHECK(pthread_create(&loader, NULL, loads_and_unloads, NULL) == 0);
    run_threads(3, churn);
    CHECK(pthread_join(loader, NULL) == 0);
  } else if (strcmp(what, "forks") == 0) {
    pthread_t forker;
    CHECK(pthread_create(&forker, NULL, forks, (void *)99) == 0);
    run_threads(3, churn);
    CHECK(pthread_join(forker, NULL) == 0);
  } else if (strcmp(what, "signals") == 0) with_signals();
  else if (strcmp(what, "overflow") == 0) {
    struct sigaction action = {.sa_handler = overflowed, .sa_flags = SA_ONSTACK};
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    run_threads(1, overflows);
  } else CHECK(!"a known word");
  free_all();
  // A reading of what is left.
  sleep(2);
  puts("done");
  return 0;
}
