/** Starts programs, each given as one argument with blanks between its words, and ends with the sum of their statuses. */
public class Starts {
    public static void main(String[] commands) throws Exception {
        Process[] started = new Process[commands.length];
        for (int i = 0; i < commands.length; i++) {
            started[i] = new ProcessBuilder(commands[i].split(" ")).inheritIO().start();
        }
        int status = 0;
        for (Process process : started) {
            status += process.waitFor();
        }
        System.exit(status);
    }
}
