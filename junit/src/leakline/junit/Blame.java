package leakline.junit;

import java.lang.reflect.Method;
import java.util.List;

/** Puts into words what grew by a test, with the lines that allocate it where something on this JVM can tell them. */
final class Blame {
    /** Call paths that are shown of a class. */
    private static final int TOP = 3;

    private final StackTraceElement test;
    private final List<Growth> grown;
    private final int rounds;
    private final long took;

    /** {@code grown}: in so many rounds of the test, which took so many nanoseconds. */
    Blame(Method test, List<Growth> grown, int rounds, long took) {
        this.test = new StackTraceElement(test.getDeclaringClass().getName(), test.getName(), null, 0);
        this.grown = grown;
        this.rounds = rounds;
        this.took = took;
    }

    /** Lines, each with its end. Runs the test again to get them; whatever happens then is told and not thrown. */
    String words(Rounds body) {
        if (grown.isEmpty()) {
            return String.format("    no class grows in each part of them%n");
        }
        String reason;
        try {
            NativeSites sites = new NativeSites(test);
            List<Site> found = sites.find(grown, rounds, took, body);
            if (!found.isEmpty()) {
                return words(found, sites.rounds(), "");
            }
            reason = "nothing that was allocated in " + sites.rounds() + " more rounds was kept";
        } catch (NativeSites.Unavailable unavailable) {
            reason = unavailable.getMessage();
        } catch (Throwable error) {
            return words(List.of(), 1, note("the test, repeated once more, failed by itself: " + error));
        }
        String counted = "leakline's library, which counts every allocation, does not tell: " + reason;
        String unknown = "which lines allocate it is not known; " + counted + "; the JVM's flight recorder: ";
        try {
            RecordedSites sites = new RecordedSites(test);
            List<Site> found = sites.find(grown, rounds, body);
            if (!found.isEmpty()) {
                return words(found, 0, note("the lines are from samples of the JVM's flight recorder; " + counted));
            }
            return words(List.of(), 1, note(unknown + "of " + sites.samples() + " samples no line follows"));
        } catch (Throwable error) {
            return words(List.of(), 1, note(unknown + error));
        }
    }

    private static String note(String words) {
        return String.format("    (%s)%n", words);
    }

    /** {@code of}: the rounds that the sites' numbers are of; 0: those are samples. */
    private String words(List<Site> sites, int of, String note) {
        StringBuilder words = new StringBuilder();
        for (Growth growth : grown) {
            int shown = 0;
            for (Site site : sites) {
                if (!site.growth.type.equals(growth.type) || shown == TOP) {
                    continue;
                }
                shown++;
                String amount = of > 0 ? site.growth.words(of) : growth.words(rounds);
                String samples = of > 0 ? "" : " (" + site.growth.objects + " samples)";
                words.append(String.format("    %s, allocated at %s%s%n", amount, site, samples));
            }
            if (shown == 0) {
                words.append(String.format("    %s%n", growth.words(rounds)));
            }
        }
        return words + note;
    }
}
