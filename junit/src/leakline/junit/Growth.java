package leakline.junit;

import java.util.List;
import java.util.Locale;

/** What a class, or one call path's objects of it, grew by in so many rounds. */
final class Growth {
    /** As the JVM writes it: {@code [B} for {@code byte[]}. */
    final String type;

    final long bytes;
    final long objects;

    Growth(String type, long bytes, long objects) {
        this.type = type;
        this.bytes = bytes;
        this.objects = objects;
    }

    /** {@code byte[] grows by 512 bytes (1 object) per round}. */
    String words(int rounds) {
        // Of few objects a part per round is more than nothing.
        String each = String.format(Locale.ROOT, "%.1f", (double) objects / rounds);
        each = each.endsWith(".0") ? each.substring(0, each.length() - 2) : each;
        return String.format(
                "%s grows by %d bytes (%s %s) per round",
                name(type), Math.round((double) bytes / rounds), each, each.equals("1") ? "object" : "objects");
    }

    /** As a program writes it. */
    static String name(String type) {
        int depth = 0;
        while (depth < type.length() && type.charAt(depth) == '[') {
            depth++;
        }
        if (depth == 0) {
            return type;
        }
        String element = type.substring(depth);
        int basic = List.of("B", "C", "D", "F", "I", "J", "S", "Z").indexOf(element);
        if (basic >= 0) {
            element = List.of("byte", "char", "double", "float", "int", "long", "short", "boolean").get(basic);
        } else if (element.startsWith("L") && element.endsWith(";")) {
            element = element.substring(1, element.length() - 1);
        }
        return element + "[]".repeat(depth);
    }
}
