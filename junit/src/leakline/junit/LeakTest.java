package leakline.junit;

import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;

/**
 * A test that is run many times, and fails when live objects grow by it, with their classes and the lines that allocate them.
 * In place of {@code @Test}:
 *
 * <pre>
 * &#64;LeakTest
 * void reconnectKeepsNothing() {
 *     client.reconnect();
 * }
 * </pre>
 *
 * Looks at the Java heap only; for native memory run the program under {@code leakline run}. The lines are told by leakline's
 * library, which is loaded for a test that fails: from the jar, or from {@code -Dleakline.junit.library=PATH}. Java 24 and later
 * print a warning then, unless they are run with {@code --enable-native-access=ALL-UNNAMED}. Where there is no library the JVM's
 * own flight recorder is asked, which tells of a test that is quick or leaks much, and else classes alone are named; whether a
 * test fails is the same in each case.
 */
@Target(ElementType.METHOD)
@Retention(RetentionPolicy.RUNTIME)
@Test
@ExtendWith(LeakExtension.class)
public @interface LeakTest {
    /** How often the test is run, beside some rounds in which caches fill. */
    int rounds() default 200;

    /** What a round may leave behind. The default allows for chance: no object is smaller than 16 bytes. */
    long maxBytes() default 8;
}
