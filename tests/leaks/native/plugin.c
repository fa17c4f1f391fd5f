/* A library with 64 KiB of data of its own. */

static char data[65536];

void plugin_fill(void);

void plugin_fill(void) {
    for (unsigned i = 0; i < sizeof data; i++) {
        ((volatile char *)data)[i] = (char)i;
    }
}
