"""Every way in which a Python program ends, one by its name on the command line."""

import atexit
import ctypes
import faulthandler
import gc
import os
import signal
import subprocess
import sys
import threading
import time

WAY = sys.argv[1]
kept = [bytearray(3000) for _ in range(300)]


class Loud:
    def __del__(self):
        print("deleted at", "the end" if sys.is_finalizing() else "once")


def at_exit():
    print("exit handler")
    sys.stdout.flush()


def churn():
    while True:
        kept.append([bytearray(500) for _ in range(10)])
        if len(kept) > 2000:
            kept.clear()
        time.sleep(0.001)


atexit.register(at_exit)
loud = Loud()
loud.itself = loud
time.sleep(0.3)
print("begins", flush=True)

if WAY == "return":
    pass
elif WAY == "exit":
    sys.exit(3)
elif WAY == "exit_with_words":
    sys.exit("it went wrong")
elif WAY == "_exit":
    os._exit(4)
elif WAY == "unhandled":
    raise RuntimeError("nobody handles this")
elif WAY == "abort":
    os.abort()
elif WAY == "faulthandler":
    faulthandler.enable()
    ctypes.string_at(0)
elif WAY == "faulthandler_later":
    faulthandler.dump_traceback_later(0.5, exit=True)
    time.sleep(5)
elif WAY == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
elif WAY == "interrupt":
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)
elif WAY == "exec":
    os.execvp("sh", ["sh", "-c", "echo another program; exit 5"])
elif WAY == "exec_python":
    os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(.6); print('another Python')"])
elif WAY == "daemon_threads":
    for _ in range(4):
        threading.Thread(target=churn, daemon=True).start()
    time.sleep(0.5)
elif WAY == "thread_after_main":
    threading.Thread(target=lambda: (time.sleep(0.7), print("the thread ends"))).start()
elif WAY == "main_thread_exits":
    # What a C library under Python may do: the main thread goes, and another ends the process.
    threading.Thread(target=lambda: (time.sleep(0.8), print("the thread ends", flush=True), os._exit(6))).start()
    ctypes.CDLL(None).syscall(60, 0)
elif WAY == "thread_exits":
    threading.Thread(target=lambda: os._exit(7)).start()
    time.sleep(5)
elif WAY == "signal_handler":
    signal.signal(signal.SIGTERM, lambda *_: (print("told to end"), sys.exit(8)))
    print("ready", flush=True)
    time.sleep(5)
elif WAY == "sigint":
    try:
        time.sleep(5)
    except KeyboardInterrupt:
        print("interrupted")
        sys.exit(9)
elif WAY == "fork":
    for number in range(20):
        child = os.fork()
        if child == 0:
            kept.append(bytearray(100_000))
            os._exit(number) if number % 2 else sys.exit(number)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
elif WAY == "subprocess":
    print(subprocess.run([sys.executable, "-c", "print('in', input())"], input="text", text=True, capture_output=True).stdout)
    print([subprocess.run(["sh", "-c", f"exit {number}"]).returncode for number in range(20)])
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False) as cat:
        print(cat.communicate(b"through a pipe")[0])
elif WAY == "no_child":
    try:
        os.waitpid(-1, 0)
    except ChildProcessError:
        print("nobody to wait for")
elif WAY == "memory":
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))
    taken = []
    try:
        while True:
            taken.append(bytearray(1 << 20))
    except MemoryError:
        pass
    time.sleep(1.2)
    small = []
    try:
        while True:
            small.append(bytearray(3000))
    except MemoryError:
        del small
    time.sleep(0.6)
    del taken
    gc.collect()
    print("there is room again", len(bytearray(10 << 20)))
elif WAY == "recursion":
    def deep(number):
        return deep(number + 1) + 1

    try:
        deep(0)
    except RecursionError:
        print("too deep")
else:
    raise SystemExit(f"no way is called {WAY}")
