import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.zip.Deflater;
import java.util.zip.Inflater;

/**
 * A JVM whose work goes through JNI: a C library of its own that keeps records in malloc's memory, and zlib behind
 * java.util.zip. Each line on standard input asks for a turn and is answered with {@code done}. Arguments: the library,
 * rounds a turn. BENCH_WAIT: milliseconds until whatever watches has begun. Knows nothing of leakline.
 */
final class Codec {
    /** Encodes, keeps and gives back records; says how many bytes they had. */
    private static native long encode(byte[] text, int records);

    private final byte[] text = "name=value; other=another value; number=12345; ".repeat(40).getBytes(StandardCharsets.UTF_8);
    private final byte[] packed = new byte[text.length];
    private long sum;

    private void work(int rounds) throws Exception {
        for (int round = 0; round < rounds; round++) {
            sum += encode(text, 40);
            Deflater deflater = new Deflater(Deflater.BEST_SPEED);
            deflater.setInput(text);
            deflater.finish();
            int length = deflater.deflate(packed);
            deflater.end();
            Inflater inflater = new Inflater();
            inflater.setInput(packed, 0, length);
            sum += inflater.inflate(text);
            inflater.end();
        }
    }

    public static void main(String[] arguments) throws Exception {
        System.load(arguments[0]);
        int rounds = Integer.parseInt(arguments[1]);
        String wait = System.getenv("BENCH_WAIT");
        Thread.sleep(wait == null ? 0 : Long.parseLong(wait));
        Codec codec = new Codec();
        for (int round = 0; round < 20; round++) {
            codec.work(rounds);
        }
        System.out.println("ready");
        BufferedReader asks = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        while (asks.readLine() != null) {
            codec.work(rounds);
            System.out.println("done");
        }
    }
}
