/* 30,000 mappings: one large block of malloc's, whose pages may be written and only read in turn. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGES = 30000, PAGE = 4096 };

int main(int count, char **words) {
    char *block = malloc((size_t)(PAGES + 2) * PAGE);
    if (!block) return 1;
    memset(block, 1, (size_t)(PAGES + 2) * PAGE);
    char *first = (char *)(((size_t)block + PAGE) & ~(size_t)(PAGE - 1));
    for (int i = 0; i < PAGES; i += 2)
        if (mprotect(first + (size_t)i * PAGE, PAGE, PROT_READ)) return 1;
    sleep(count > 1 ? (unsigned)atoi(words[1]) : 3);
    return 0;
}
