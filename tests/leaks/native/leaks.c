/* C programs that leak, one for each way; the argument says which. A marker stands on the line that is to blame. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "pace.h"

#define SIZE 4000

static void leak_malloc(long number) {
    char *block = malloc(SIZE); /* leak: malloc */
    memset(block, (int)number, SIZE);
    __asm__ volatile("" : : "r"(block) : "memory");
}

static char *table;

static void grow_table(long number) {
    size_t bytes = (size_t)(number + 1) * 65536;
    table = realloc(table, bytes); /* leak: realloc */
    memset(table + bytes - 65536, 1, 65536);
}

static void leak_strdup(long number) {
    static char text[SIZE];
    memset(text, 'a' + (int)(number % 26), SIZE - 1);
    char *copy = strdup(text); /* leak: strdup */
    __asm__ volatile("" : : "r"(copy) : "memory");
}

static char *helper(size_t bytes) { return calloc(1, bytes); }

static void helper_kept(long number) {
    char *block = helper(SIZE); /* leak: helper */
    block[0] = (char)number;
    __asm__ volatile("" : : "r"(block) : "memory");
    for (int i = 0; i < 20; i++) {
        free(helper(SIZE));
    }
}

static void leak_mapping(long number) {
    char *pages = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); /* leak: mmap */
    if (pages != MAP_FAILED) {
        memset(pages, (int)number + 1, 65536);
    }
}

static void *use_stack(void *argument) {
    volatile char frame[60000];
    memset((char *)frame, 1, sizeof frame);
    return argument;
}

static void leak_thread(long number) {
    pthread_attr_t attributes;
    pthread_t thread;
    (void)number;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 131072);
    pthread_create(&thread, &attributes, use_stack, NULL); /* leak: never-joined */
    pthread_attr_destroy(&attributes);
}

/* Each copy of the library is another to the loader. */
static const char *plugin;

static void open_plugin(long number) {
    char name[64], bytes[65536];
    snprintf(name, sizeof name, "/dev/shm/leaks-plugin-%d-%ld.so", (int)getpid(), number);
    int from = open(plugin, O_RDONLY), to = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0700);
    ssize_t count = read(from, bytes, sizeof bytes);
    if (count <= 0 || write(to, bytes, (size_t)count) != count) {
        exit(1);
    }
    close(from);
    close(to);
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL); /* leak: dlopen */
    unlink(name);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    ((void (*)(void))dlsym(library, "plugin_fill"))();
}

static void leak_socket(long number) {
    int pair[2];
    (void)number;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) {
        exit(1);
    }
    close(pair[0]);
}

static void leak_file(long number) {
    (void)number;
    if (open("/etc/passwd", O_RDONLY) < 0) {
        exit(1);
    }
}

static void *sleep_long(void *argument) {
    sleep(1000);
    return argument;
}

static void leak_sleeper(long number) {
    pthread_attr_t attributes;
    pthread_t thread;
    (void)number;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 65536);
    pthread_create(&thread, &attributes, sleep_long, NULL);
    pthread_setname_np(thread, "poller");
    pthread_attr_destroy(&attributes);
}

int main(int count, char **words) {
    const char *which = count > 1 ? words[1] : "";
    setvbuf(stdout, NULL, _IOLBF, 0);
    plugin = count > 2 ? words[2] : "";
    static const struct {
        const char *name;
        void (*step)(long);
        double item;
    } programs[] = {
        {"malloc", leak_malloc, SIZE + 16},
        {"realloc", grow_table, 65536},
        {"strdup", leak_strdup, SIZE + 8},
        {"helper", helper_kept, SIZE + 16},
        {"mmap", leak_mapping, 65536},
        {"never-joined", leak_thread, 69632},
        {"dlopen", open_plugin, 69632},
        /* Resources: this many at a time are not bytes, but the pace is the same. */
        {"sockets", leak_socket, 65536},
        {"files", leak_file, 65536},
        {"threads", leak_sleeper, 262144},
    };
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        if (strcmp(programs[i].name, which) == 0) {
            pace_run(programs[i].step, programs[i].item);
            return 0;
        }
    }
    fprintf(stderr, "no program is called %s\n", which);
    return 2;
}
