import java.util.ArrayList;
import java.util.List;
import leakline.junit.LeakTest;
import org.junit.jupiter.api.Test;

/** Tests that leak, or do not, for the JUnit extension: each name says what must become of it. */
class RoundsTest {
    private static final List<Object> KEPT = new ArrayList<>();

    @LeakTest
    void failsForWhatIsKept() {
        KEPT.add(new StringBuilder(500));
    }

    @LeakTest
    void failsForSmallObjects() {
        KEPT.add(new Object());
    }

    @LeakTest
    void passes() {
        List<Object> local = new ArrayList<>();
        local.add(new byte[5000]);
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
