/* Stands for Chaquopy's native library, by its name only: the real one is for Android. */
int stands_for_chaquopy = 1;
