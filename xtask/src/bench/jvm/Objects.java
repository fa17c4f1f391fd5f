import java.util.Random;

/** Keeps so many objects of a few kinds, then waits until its input ends. Allocates nothing meanwhile. */
public final class Objects {
    static final class Node { Node next; long number; }
    static final class Pair { Object one, other; }

    static Object kept;

    public static void main(String[] args) throws Exception {
        int count = Integer.parseInt(args[0]);
        Object[] all = new Object[count];
        Random random = new Random(1);
        Node last = null;
        for (int i = 0; i < count; i++) {
            switch (random.nextInt(4)) {
                case 0: last = new Node(); last.next = null; last.number = i; all[i] = last; break;
                case 1: Pair pair = new Pair(); pair.one = last; pair.other = all[Math.max(0, i - 1)]; all[i] = pair; break;
                case 2: all[i] = new byte[random.nextInt(64)]; break;
                default: all[i] = Long.valueOf(1000L + i); break;
            }
        }
        kept = all;
        System.gc();
        System.out.println("ready");
        System.in.read();
    }
}
