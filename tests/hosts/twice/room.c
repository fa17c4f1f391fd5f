// Takes all there is of one thing that is limited, holds it, copes, and gives it back.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static void nap(int milliseconds)
{
    struct timespec left = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    nanosleep(&left, NULL);
}

static void limit(int what, rlim_t to)
{
    struct rlimit limits = {to, to};
    if (setrlimit(what, &limits)) perror("setrlimit");
}

static void *sleeps(void *milliseconds) { nap(*(int *)milliseconds); return NULL; }

int main(int count, char **words)
{
    const char *what = count > 1 ? words[1] : "";
    long most = count > 2 ? atol(words[2]) : 0;
    int hold = count > 3 ? atoi(words[3]) : 1500;
    if (!strcmp(what, "memory") || !strcmp(what, "data")) {
        static void *blocks[20000];
        int taken = 0;
        nap(700);
        limit(!strcmp(what, "data") ? RLIMIT_DATA : RLIMIT_AS, most << 20);
        for (long size = 1 << 20; size >= 32; size /= 2)
            while (taken < 20000 && (blocks[taken] = malloc(size))) taken++;
        if (malloc(1 << 20)) puts("there was more");
        nap(hold);
        // The limit holds for what comes later, too.
        for (int i = 0; i < 200; i++) { free(blocks[--taken]); blocks[taken] = malloc(64); if (blocks[taken]) taken++; nap(1); }
        while (taken) free(blocks[--taken]);
        char *again = malloc(4 << 20);
        puts(again ? "survived" : "nothing came back");
        free(again);
        return 0;
    }
    if (!strcmp(what, "files")) {
        nap(most);
        int opened = 0;
        while (opened < 36 && open("/dev/zero", O_RDONLY) >= 0) opened++;
        nap(hold);
        printf("%d files are open\n", opened);
        return 0;
    }
    if (!strcmp(what, "file_size")) {
        // Its own file reaches the limit, too: it gets the signal, or the error, as ever.
        if (most) signal(SIGXFSZ, SIG_IGN);
        int file = open("own.txt", O_WRONLY | O_CREAT | O_TRUNC, 0600);
        static char block[1024];
        int written = 0;
        for (int i = 0; i < hold / 20; i++) { memset(malloc(100000), 1, 100000); nap(20); }
        while (write(file, block, sizeof block) == sizeof block) written++;
        printf("%d blocks, then %s\n", written, strerrorname_np(errno));
        return 0;
    }
    if (!strcmp(what, "threads")) {
        pthread_t threads[64];
        int started = 0;
        nap(300);
        while (started < 64 && pthread_create(&threads[started], NULL, sleeps, &hold) == 0) started++;
        printf("%d threads\n", started);
        while (started) pthread_join(threads[--started], NULL);
        return 0;
    }
    if (!strcmp(what, "locked")) {
        printf("mlockall %s\n", mlockall(MCL_CURRENT | MCL_FUTURE) ? strerrorname_np(errno) : "works");
        for (int i = 0; i < 20; i++) { memset(malloc(300000), 1, 300000); nap(20); }
        return 0;
    }
    if (!strcmp(what, "stack")) {
        // Deep, in a thread whose stack is as small as it may be.
        pthread_attr_t small;
        pthread_t threads[8];
        pthread_attr_init(&small);
        pthread_attr_setstacksize(&small, 16384);
        for (int i = 0; i < 8; i++) if (pthread_create(&threads[i], &small, sleeps, &hold)) perror("pthread_create");
        for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
        puts("small stacks were enough");
        return 0;
    }
    return 98;
}
