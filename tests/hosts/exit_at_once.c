/* Ends before anything that watches it can have settled: by returning, or in the ways that are named.
   `exit_at_once [return|_exit|abort]` */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int count, char **words) {
    const char *how = count > 1 ? words[1] : "return";
    if (strcmp(how, "_exit") == 0)
        _exit(3);
    if (strcmp(how, "abort") == 0)
        abort();
    return 3;
}
