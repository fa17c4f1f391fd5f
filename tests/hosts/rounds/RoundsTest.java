import java.util.ArrayList;
import java.util.List;
import leakline.junit.LeakTest;
import org.junit.jupiter.api.Test;

/** Tests that leak, or do not, for the JUnit extension: each name says what must become of it. */
class RoundsTest {
    private static final List<Object> KEPT = new ArrayList<>();

    @LeakTest
    void failsForWhatIsKept() {
        KEPT.add(new StringBuilder(500)); // leak: builder
    }

    @LeakTest
    void failsForSmallObjects() {
        KEPT.add(new Object()); // leak: object
    }

    /** 512 bytes, with the array's header, and 20 rounds: ten kilobytes in all. */
    @LeakTest(rounds = 20)
    void failsForFewRounds() {
        List<Object> local = new ArrayList<>();
        for (int number = 0; number < 1000; number++) {
            local.add(new byte[400]);
        }
        Sessions.open(); // leak: open's caller
    }

    /** What is kept for some rounds is of the same class, and no leak. */
    @LeakTest
    void failsBesideARing() {
        Sessions.remember();
        KEPT.add(new byte[496]); // leak: beside
    }

    @LeakTest(rounds = 20)
    void failsForAnotherThread() throws Exception {
        Sessions.openElsewhere();
    }

    @LeakTest
    void passes() {
        List<Object> local = new ArrayList<>();
        local.add(new byte[5000]);
    }

    @LeakTest(rounds = 20)
    void passesWithTheLastOne() {
        Sessions.replace();
        if (Sessions.length() == 0) {
            throw new AssertionError("nothing is kept");
        }
    }

    @LeakTest(maxBytes = 2000)
    void passesWithinItsBound() {
        KEPT.add(new byte[500]);
    }

    @LeakTest
    void failsByItself() {
        throw new IllegalStateException("this is the test's own failure");
    }

    @Test
    void passesWithoutTheAnnotation() {
        KEPT.add(new byte[500]);
    }
}
