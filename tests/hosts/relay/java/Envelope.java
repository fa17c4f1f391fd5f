package relay;

import java.util.ArrayList;
import java.util.List;

/** A message as the relay hands it on. */
final class Envelope {
    long id;
    String text;
    List<Hop> hops = new ArrayList<>();

    /** A station that the message went through. */
    static final class Hop {
        String name;
        long atMillis;
        double signal;
    }

    static Envelope of(long id, String text) {
        Envelope envelope = new Envelope();
        envelope.id = id;
        envelope.text = text;
        for (int i = 0; i < 8; i++) {
            Hop hop = new Hop();
            hop.name = "station " + i;
            hop.atMillis = System.currentTimeMillis();
            hop.signal = -60.5 - i;
            envelope.hops.add(hop);
        }
        return envelope;
    }
}
