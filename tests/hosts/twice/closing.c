// Closes what it did not open, as daemons do, and opens files of its own, which get those numbers.
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define FILES 24
#define ROUNDS 30

static void nap(int milliseconds)
{
    struct timespec left = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    nanosleep(&left, NULL);
}

// By what /proc says is open, as OpenSSH and sudo do where there is no call for it.
static void close_listed(void)
{
    int found[1024], count = 0;
    DIR *folder = opendir("/proc/self/fd");
    for (struct dirent *entry; (entry = readdir(folder)) && count < 1024;)
        if (atoi(entry->d_name) > 2 && atoi(entry->d_name) != dirfd(folder)) found[count++] = atoi(entry->d_name);
    closedir(folder);
    while (count) close(found[--count]);
}

static void close_all(const char *way)
{
    if (!strcmp(way, "closefrom")) closefrom(3);
    if (!strcmp(way, "close_range")) syscall(SYS_close_range, 3, ~0U, 0);
    if (!strcmp(way, "close_range_unshare")) syscall(SYS_close_range, 3, ~0U, 1 << 1);
    if (!strcmp(way, "loop")) for (int i = 3; i < 4096; i++) close(i);
    if (!strcmp(way, "listed")) close_listed();
    if (!strcmp(way, "dup2")) {
        int null = open("/dev/null", O_RDWR);
        for (int i = 3; i < 200; i++) if (i != null) dup2(null, i);
        for (int i = 3; i < 200; i++) close(i);
    }
    if (!strcmp(way, "cloexec")) syscall(SYS_close_range, 3, ~0U, 1 << 2);
}

int main(int count, char **words)
{
    const char *way = count > 1 ? words[1] : "closefrom";
    int first = count > 2 ? atoi(words[2]) : 1200;
    char name[64], text[64];
    int files[FILES], pair[2];
    nap(first);
    close_all(way);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) return 97;
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "own-%d.txt", i);
        files[i] = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
        if (files[i] < 0) { perror("open"); return 96; }
    }
    for (int round = 0; round < ROUNDS; round++) {
        memset(malloc(100000), 1, 100000);
        snprintf(text, sizeof text, "round %d\n", round);
        for (int i = 0; i < FILES; i++) if (write(files[i], text, strlen(text)) < 0) { perror("write"); return 95; }
        // What somebody else writes into the socket, or takes out of it, is seen here.
        if (write(pair[0], "ping", 4) != 4 || read(pair[1], text, sizeof text) != 4) { puts("the socket is disturbed"); return 94; }
        // Daemons close once more when they let go of their log.
        if (round == ROUNDS / 2 && !strcmp(way, "loop")) { close(files[0]); files[0] = open("own-0.txt", O_RDWR | O_APPEND); }
        nap(50);
    }
    puts("ended well");
    return 0;
}
