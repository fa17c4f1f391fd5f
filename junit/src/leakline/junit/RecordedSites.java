package leakline.junit;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import jdk.jfr.Recording;
import jdk.jfr.consumer.RecordedClass;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordedFrame;
import jdk.jfr.consumer.RecordedObject;
import jdk.jfr.consumer.RecordedStackTrace;
import jdk.jfr.consumer.RecordingFile;

/**
 * What the JVM's own flight recorder knows of allocations: it samples one each time a thread has used up its piece of the
 * heap, so that a small leak takes many more rounds than its bytes take to be counted. Needs no library.
 */
final class RecordedSites {
    private static final int PARTS = 4;

    /** The rounds go on for so long in all. */
    private static final long NANOS = 1_000_000_000L;

    /** The leak may take this part of the heap meanwhile, and no more bytes than that. */
    private static final int PART_OF_HEAP = 8;

    private static final long MOST_BYTES = 16L << 20;

    /** Samples of a call path that are more than chance. */
    private static final int FEWEST = 3;

    private final StackTraceElement test;
    private int samples;

    /** {@code test}: the frame at which call paths end. */
    RecordedSites(StackTraceElement test) {
        this.test = test;
    }

    /** By class, in no known number of rounds; throws what the test throws, and what the recorder does. */
    List<Site> find(List<Growth> grown, int count, Rounds body) throws Throwable {
        long known = 1;
        Set<String> types = new HashSet<>();
        for (Growth growth : grown) {
            known += growth.bytes;
            types.add(growth.type);
        }
        long most = Math.min(MOST_BYTES, Runtime.getRuntime().maxMemory() / PART_OF_HEAP);
        double each = Math.max(1.0, (double) known / count);
        long rounds = Math.max(count, (long) (most / each));
        List<Instant> ends = new ArrayList<>();
        Path file = Files.createTempFile("leakline", ".jfr");
        try (Recording recording = new Recording()) {
            recording.enable("jdk.OldObjectSample").withStackTrace().with("cutoff", "0 ns");
            recording.start();
            for (int part = 0; part < PARTS; part++) {
                long begun = System.nanoTime();
                for (long round = 0; round < rounds / PARTS && System.nanoTime() - begun < NANOS / PARTS; round++) {
                    body.run(1);
                }
                ends.add(Instant.now());
            }
            LiveObjects.collect();
            recording.stop();
            recording.dump(file);
            return read(file, types, ends);
        } finally {
            Files.deleteIfExists(file);
        }
    }

    /** Of the classes that were asked for. */
    int samples() {
        return samples;
    }

    private List<Site> read(Path file, Set<String> types, List<Instant> ends) throws IOException {
        Sites sites = new Sites(test);
        for (RecordedEvent event : RecordingFile.readAllEvents(file)) {
            RecordedStackTrace stack = event.getStackTrace();
            if (!event.getEventType().getName().equals("jdk.OldObjectSample") || stack == null) {
                continue;
            }
            RecordedObject object = event.getValue("object");
            RecordedClass type = object.getValue("type");
            if (!types.contains(type.getName())) {
                continue;
            }
            samples++;
            List<StackTraceElement> frames = new ArrayList<>();
            for (RecordedFrame frame : stack.getFrames()) {
                String declared = frame.getMethod().getType().getName();
                frames.add(new StackTraceElement(declared, frame.getMethod().getName(), null, frame.getLineNumber()));
            }
            Instant at = event.getInstant("allocationTime");
            int part = 0;
            while (part < PARTS - 1 && at.isAfter(ends.get(part))) {
                part++;
            }
            sites.add(type.getName(), 0, 1, 1 << part, alike(frames));
        }
        return sites.of(PARTS / 2 + 1, FEWEST);
    }

    /** What the JDK did inside comes out differently as the JVM compiles it: only which of its methods was called is kept. */
    private static List<StackTraceElement> alike(List<StackTraceElement> frames) {
        int first = 0;
        while (first < frames.size() && Site.isJdk(frames.get(first))) {
            first++;
        }
        if (first == 0 || first == frames.size()) {
            return frames;
        }
        StackTraceElement called = frames.get(first - 1);
        List<StackTraceElement> alike = new ArrayList<>();
        alike.add(new StackTraceElement(called.getClassName(), called.getMethodName(), null, 0));
        alike.addAll(frames.subList(first, frames.size()));
        return alike;
    }
}
