// Reads a file one character at a time, as often as is said; what a lock would cost is seen here first. `getc FILE TIMES`
#include <stdio.h>
#include <stdlib.h>

int main(int count, char **words)
{
    if (count < 3) return 1;
    unsigned long sum = 0;
    FILE *file = fopen(words[1], "r");
    if (!file) return 2;
    for (int i = 0; i < atoi(words[2]); i++) {
        rewind(file);
        for (int c; (c = getc(file)) != EOF;) sum += (unsigned)c;
    }
    printf("%lu\n", sum);
    return 0;
}
