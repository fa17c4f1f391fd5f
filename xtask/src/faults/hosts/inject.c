// Does to another process, from outside, what its arguments say; says how many of them it did.
// `inject PID RECORDING WORD...`, a word is KIND:AFTER:LENGTH[:SIGNAL], times in milliseconds
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void nap(int milliseconds)
{
    struct timespec left = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    nanosleep(&left, NULL);
}

// All threads of it are held by a tracer for a while.
static int trace(pid_t pid, int milliseconds)
{
    char path[64];
    pid_t held[256];
    int count = 0;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder && count < 256 && (entry = readdir(folder));) {
        pid_t thread = atoi(entry->d_name);
        if (thread > 0 && ptrace(PTRACE_SEIZE, thread, NULL, NULL) == 0 && ptrace(PTRACE_INTERRUPT, thread, NULL, NULL) == 0) held[count++] = thread;
    }
    if (folder) closedir(folder);
    nap(milliseconds);
    for (int i = 0; i < count; i++) {
        int status, signal = 0, waited = 0;
        pid_t stopped;
        // A main thread that has ended before the others never stops.
        while ((stopped = waitpid(held[i], &status, __WALL | WNOHANG)) == 0 && waited++ < 100) nap(1);
        if (stopped != held[i] || !WIFSTOPPED(status)) continue;
        // What it was about to be sent is its own.
        if (status >> 16 != PTRACE_EVENT_STOP) signal = WSTOPSIG(status);
        ptrace(PTRACE_DETACH, held[i], NULL, (void *)(long)signal);
    }
    return count > 0;
}

// Whether it has a handler for the signal, or ignores it: not yet at its start, and no more when it is another program.
static int minds(pid_t pid, int which)
{
    char path[64], line[256];
    unsigned long long set, all = 0;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *status = fopen(path, "r");
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "SigIgn: %llx", &set) == 1 || sscanf(line, "SigCgt: %llx", &set) == 1) all |= set;
    if (status) fclose(status);
    return all >> (which - 1) & 1;
}

// The process that writes this recording beside the program, when there is one.
static pid_t watcher_of(const char *recording, pid_t host)
{
    pid_t found = 0;
    DIR *processes = opendir("/proc");
    for (struct dirent *process; processes && !found && (process = readdir(processes));) {
        char path[300], link[PATH_MAX];
        pid_t pid = atoi(process->d_name);
        if (pid <= 0 || pid == host) continue;
        snprintf(path, sizeof path, "/proc/%d/fd", pid);
        DIR *files = opendir(path);
        for (struct dirent *file; files && (file = readdir(files));) {
            snprintf(path, sizeof path, "/proc/%d/fd/%.20s", pid, file->d_name);
            ssize_t length = readlink(path, link, sizeof link - 1);
            if (length > 0) { link[length] = 0; if (!strcmp(link, recording)) found = pid; }
        }
        if (files) closedir(files);
    }
    if (processes) closedir(processes);
    return found;
}

int main(int count, char **words)
{
    pid_t pid = count > 2 ? atoi(words[1]) : 0;
    int done = 0;
    if (pid <= 1) return 1;
    alarm(60);
    for (int i = 3; i < count; i++) {
        char kind[32] = "";
        int after = 0, length = 0, which = 0;
        sscanf(words[i], "%31[^:]:%d:%d:%d", kind, &after, &length, &which);
        nap(after);
        if (kill(pid, 0)) break;
        if (!strcmp(kind, "stop") && kill(pid, SIGSTOP) == 0) { nap(length); kill(pid, SIGCONT); done++; }
        if (!strcmp(kind, "trace")) done += trace(pid, length);
        if (!strcmp(kind, "storm")) {
            for (int j = 0; j < 100 && !minds(pid, which); j++) nap(20);
            for (int j = 0; j < length && minds(pid, which) && kill(pid, which) == 0; j++) nap(1);
            done++;
        }
        if (!strncmp(kind, "watcher", 7)) {
            pid_t watcher = watcher_of(words[2], pid);
            if (watcher <= 1) continue;
            if (!strcmp(kind, "watcher_kill") && kill(watcher, SIGKILL) == 0) done++;
            if (!strcmp(kind, "watcher_signal") && kill(watcher, which) == 0) done++;
            if (!strcmp(kind, "watcher_stop") && kill(watcher, SIGSTOP) == 0) { nap(length); kill(watcher, SIGCONT); done++; }
            if (!strcmp(kind, "watcher_trace")) done += trace(watcher, length);
            // Left like this: the program must end all the same. It is continued afterwards, so that nothing is left behind.
            if (!strcmp(kind, "watcher_hang") && kill(watcher, SIGSTOP) == 0) {
                for (int j = 0; j < 600 && kill(pid, 0) == 0; j++) nap(50);
                kill(watcher, SIGCONT);
                done++;
            }
        }
    }
    printf("%d\n", done);
    return 0;
}
