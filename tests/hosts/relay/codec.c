/* A codec: run-length coding over a buffer of its own, and windows of what it saw, kept until they are trimmed. */

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct window {
    struct window *older;
    unsigned char data[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct window *newest;
static size_t kept;

/* The coded length of a text. */
size_t codec_encode(const char *text, size_t length) {
    unsigned char *coded = malloc(2 * length + 2);
    size_t used = 0;
    if (coded == NULL)
        return 0;
    for (size_t at = 0; at < length;) {
        size_t run = 1;
        while (at + run < length && run < 255 && text[at + run] == text[at])
            run++;
        coded[used++] = (unsigned char)run;
        coded[used++] = (unsigned char)text[at];
        at += run;
    }
    free(coded);
    return used;
}

/* Keeps `count` windows, each of `size` bytes as malloc counts them: with its header of 8 bytes. */
void codec_remember(size_t count, size_t size) {
    pthread_mutex_lock(&lock);
    while (count-- > 0) {
        struct window *window = malloc(size - 8);
        if (window == NULL)
            break;
        memset(window->data, 'w', size - 8 - sizeof *window);
        window->older = newest;
        newest = window;
        kept += size;
    }
    pthread_mutex_unlock(&lock);
}

/* Forgets all windows. */
void codec_trim(void) {
    pthread_mutex_lock(&lock);
    while (newest != NULL) {
        struct window *older = newest->older;
        free(newest);
        newest = older;
    }
    kept = 0;
    pthread_mutex_unlock(&lock);
}

size_t codec_kept_bytes(void) {
    pthread_mutex_lock(&lock);
    size_t bytes = kept;
    pthread_mutex_unlock(&lock);
    return bytes;
}
