package leakline.junit;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import org.junit.jupiter.api.extension.ExtensionContext;
import org.junit.jupiter.api.extension.InvocationInterceptor;
import org.junit.jupiter.api.extension.ReflectiveInvocationContext;
import org.junit.platform.commons.support.AnnotationSupport;

/**
 * Repeats a test's body and compares the live objects in between. JUnit calls it on the test's thread; each look at the heap
 * is a full collection. Methods around each test run once, around all rounds. A test that has failed is repeated once more, to
 * name the lines.
 */
public final class LeakExtension implements InvocationInterceptor {
    /** Caches fill and classes are loaded before anything is measured. */
    private static final int WARM_UP = 20;

    /** The heap must grow in each of so many parts: a single jump is no leak of a round's. */
    private static final int PARTS = 4;

    /** Shown of the classes that grew. */
    private static final int TOP = 3;

    @Override
    public void interceptTestMethod(
            Invocation<Void> invocation, ReflectiveInvocationContext<Method> context, ExtensionContext extension)
            throws Throwable {
        invocation.proceed();
        LeakTest settings =
                AnnotationSupport.findAnnotation(context.getExecutable(), LeakTest.class)
                        .orElseThrow(() -> new IllegalStateException("the test has no annotation @LeakTest"));
        repeat(context, WARM_UP);
        int each = Math.max(1, settings.rounds() / PARTS);
        LiveObjects live = new LiveObjects(PARTS + 1);
        // The first look leaves something behind itself.
        live.look(0);
        live.look(0);
        long begun = System.nanoTime();
        for (int part = 1; part <= PARTS; part++) {
            repeat(context, each);
            live.look(part);
        }
        // What comes after names lines, and decides nothing.
        if (live.leastGrowth() > settings.maxBytes() * each) {
            int rounds = PARTS * each;
            Blame blame = new Blame(context.getExecutable(), live.grown(TOP), rounds, System.nanoTime() - begun);
            throw new AssertionError(
                    String.format(
                            "the JVM's live objects grow by %d bytes per round (%d rounds):%n%s",
                            live.growth() / rounds, rounds, blame.words(more -> repeat(context, more))));
        }
    }

    private static void repeat(ReflectiveInvocationContext<Method> context, int rounds) throws Throwable {
        Method test = context.getExecutable();
        test.setAccessible(true);
        Object target = context.getTarget().orElse(null);
        Object[] arguments = context.getArguments().toArray();
        for (int round = 0; round < rounds; round++) {
            try {
                test.invoke(target, arguments);
            } catch (InvocationTargetException error) {
                throw error.getCause();
            }
        }
    }
}
