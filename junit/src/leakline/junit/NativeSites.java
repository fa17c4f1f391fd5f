package leakline.junit;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/**
 * Every allocation of some classes, as HotSpot tells leakline's library of it while the test is repeated. The library is
 * loaded for a test that has failed, from the jar or from where {@code -Dleakline.junit.library=PATH} says ({@code none}: from
 * nowhere), and nothing of it runs in between.
 */
final class NativeSites {
    private static final String SETTING = "leakline.junit.library";

    /** An object must be left of each of so many parts of the rounds: what the last rounds hold is no leak. */
    private static final int PARTS = 4;

    /** At so many objects the library is asked to forget what was collected. */
    private static final long MANY = 50_000;

    /** What a thread allocates at most until the JVM tells of it. */
    private static final long LONGEST_SAMPLE = 64L << 20;

    private static final int FILLER = 16 << 10;

    /** Rounds that are too few if more can be had: with all allocations told of, some tests take many times as long. */
    private static final int FEW = 20;

    /** Each pass has so many times the rounds of the one before. */
    private static final int FACTOR = 5;

    /** Other threads are told of when they have allocated as much: there are more and more rounds until then, at most so long. */
    private static final long PATIENCE_NANOS = 2_000_000_000L;

    /** And with no more leaked than this, or than the rounds that were measured did. */
    private static final long MOST_BYTES = 8L << 20;

    /** A pass that takes longer than this, and than the rounds that were measured, is given up. */
    private static final long MOST_NANOS = 8_000_000_000L;

    /** With this part of what a class grew by nothing is missing. */
    private static final double EXPLAINED = 0.95;

    /** And more than this no call path can have. */
    private static final double IMPOSSIBLE = 1.5;

    /** A collector that works beside the program takes what was allocated meanwhile only the next time. */
    private static final int COLLECTIONS = 5;

    private static boolean loaded;
    private static volatile Object sink;

    private final StackTraceElement test;

    /** How many rounds the sites are of. */
    private int rounds;

    /** Nanoseconds that they took. */
    private long taken;

    /** {@code test}: the frame at which call paths end. */
    NativeSites(StackTraceElement test) {
        this.test = test;
    }

    /**
     * Runs some rounds, and more and more where they do not explain what grew in {@code count} of them, which took so many
     * nanoseconds; throws what the test throws, and why it cannot be told.
     */
    List<Site> find(List<Growth> grown, int count, long took, Rounds body) throws Throwable {
        load();
        StringBuilder classes = new StringBuilder();
        for (Growth growth : grown) {
            classes.append(growth.type).append('\n');
        }
        String refused = begin(classes.toString());
        if (refused != null) {
            throw new Unavailable(refused);
        }
        try {
            for (long filled = 0; !isTold() && filled < LONGEST_SAMPLE; filled += FILLER) {
                sink = new byte[FILLER];
            }
            sink = null;
            long most = Math.max(MOST_NANOS, took);
            for (int each = 1; ; each *= FACTOR) {
                rounds = each * PARTS;
                List<Site> sites = pass(each, most, body);
                boolean few = rounds < Math.min(FEW, count);
                boolean late = taken * FACTOR > (few ? most : PATIENCE_NANOS);
                boolean large = known(grown) / count * rounds * FACTOR > Math.max(MOST_BYTES, known(grown));
                if (explain(sites, grown, count) && !few || late || large) {
                    return sites;
                }
            }
        } finally {
            end();
        }
    }

    /** Takes out what is more than its class grew by, for that is held for some rounds; whether little is missing then. */
    private boolean explain(List<Site> sites, List<Growth> grown, int count) {
        boolean explained = true;
        for (Growth growth : grown) {
            double known = (double) growth.bytes / count;
            sites.removeIf(site -> site.growth.type.equals(growth.type) && each(site) > known * IMPOSSIBLE);
            double found = 0;
            for (Site site : sites) {
                found += site.growth.type.equals(growth.type) ? each(site) : 0;
            }
            explained &= found > known * EXPLAINED;
        }
        return explained;
    }

    private static double known(List<Growth> grown) {
        double known = 0;
        for (Growth growth : grown) {
            known += growth.bytes;
        }
        return known;
    }

    private double each(Site site) {
        return (double) site.growth.bytes / rounds;
    }

    /** Of the last look. */
    int rounds() {
        return rounds;
    }

    private List<Site> pass(int each, long most, Rounds body) throws Throwable {
        forget();
        long begun = System.nanoTime();
        for (int number = 0; number < PARTS; number++) {
            for (int round = 0; round < each; round++) {
                part(number);
                try {
                    body.run(1);
                } finally {
                    part(-1);
                }
                if (System.nanoTime() - begun > most) {
                    throw new Unavailable("with every allocation told of, the test takes too long");
                }
                if (sweep(MANY) > MANY) {
                    System.gc();
                    sweep(MANY);
                }
            }
        }
        taken = System.nanoTime() - begun;
        long left = Long.MAX_VALUE;
        for (int collection = 0; collection < COLLECTIONS; collection++) {
            LiveObjects.collect();
            System.gc();
            long before = left;
            left = sweep(0);
            if (left == before) {
                break;
            }
        }
        return read(held());
    }

    private List<Site> read(String rows) {
        Sites sites = new Sites(test);
        for (String row : rows == null ? new String[0] : rows.split("\n")) {
            String[] words = row.split("\t");
            if (words.length < 4) {
                continue;
            }
            List<StackTraceElement> frames = new ArrayList<>();
            for (int index = 4; index < words.length; index++) {
                String[] frame = words[index].split("\u001f");
                String file = frame[2].isEmpty() ? null : frame[2];
                frames.add(new StackTraceElement(frame[0], frame[1], file, Integer.parseInt(frame[3])));
            }
            long bytes = Long.parseLong(words[1]);
            sites.add(words[0], bytes, Long.parseLong(words[2]), Integer.parseInt(words[3]), frames);
        }
        return sites.of(PARTS, PARTS);
    }

    private static synchronized void load() throws Unavailable {
        if (loaded) {
            return;
        }
        String setting = System.getProperty(SETTING, "");
        if (setting.equals("none")) {
            throw new Unavailable("-D" + SETTING + "=none");
        }
        try {
            if (setting.isEmpty()) {
                loadResource();
            } else {
                System.load(Path.of(setting).toAbsolutePath().toString());
            }
        } catch (IOException | UnsatisfiedLinkError | RuntimeException error) {
            throw new Unavailable(String.valueOf(error.getMessage()));
        }
        loaded = true;
    }

    private static void loadResource() throws IOException, Unavailable {
        String system = System.getProperty("os.name").toLowerCase(Locale.ROOT);
        String machine = System.getProperty("os.arch").replace("amd64", "x86_64");
        String folder = (system.contains("linux") ? "linux" : system.replace(' ', '-')) + "-" + machine;
        try (InputStream library = NativeSites.class.getResourceAsStream(folder + "/libleakline_junit.so")) {
            if (library == null) {
                throw new Unavailable(
                        "libleakline_junit.so for " + folder + " is not in the jar, and -D" + SETTING + "=PATH names none");
            }
            Path file = Files.createTempFile("libleakline_junit", ".so");
            try {
                Files.copy(library, file, StandardCopyOption.REPLACE_EXISTING);
                System.load(file.toString());
            } finally {
                // The JVM has it mapped.
                Files.delete(file);
            }
        }
    }

    /** The library cannot be used here; the message says why. */
    static final class Unavailable extends Exception {
        private static final long serialVersionUID = 1L;

        Unavailable(String reason) {
            super(reason);
        }
    }

    private static native String begin(String classes);

    private static native boolean isTold();

    private static native void part(int part);

    /** If there are more than so many; how many are left. */
    private static native long sweep(long many);

    private static native String held();

    private static native void forget();

    private static native void end();
}
