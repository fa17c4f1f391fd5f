package leakline.junit;

/** The test, to be repeated. */
interface Rounds {
    /** Runs it so often, on the calling thread. Throws what the test throws. */
    void run(int rounds) throws Throwable;
}
