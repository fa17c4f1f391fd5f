"""A Python program under load that does to itself what its arguments say, one after the other, and tells what came of each.
The same arguments have the same output, unless somebody interferes. `load.py THREADS CLASSES WORD...`, a word is KIND:A:B;
with CLASSES, a JVM runs in it, too."""

import ctypes
import errno
import gc
import os
import resource
import signal
import subprocess
import sys
import threading
import time

FILES = 4
stop = False
came = [0] * 65
shim = ctypes.PyDLL(None)


def churn(number):
    kept = []
    while not stop:
        kept.append([bytearray(200 + number) for _ in range(30)] + [{"a": number, "b": str(len(kept))}])
        if len(kept) > 200:
            if any(block != bytearray(200 + number) for block in kept[0][:30]):
                os.write(2, b"a block was changed\n")
                os._exit(90)
            kept.clear()
        time.sleep(0.0005)


def caught(which, frame):
    came[which] += 1


def shim_call(name, *numbers):
    function = getattr(shim, name, None)
    if function is not None:
        function(*(ctypes.c_longlong(number) for number in numbers))


def children(way, count):
    well = 0
    for number in range(count):
        if way == "fork":
            child = os.fork()
            if child == 0:
                kept = [bytearray(1000) for _ in range(number)]
                os._exit(7 if len(kept) == number else 8)
            well += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        elif way == "spawn":
            child = os.posix_spawn("/bin/false", ["false"], os.environ)
            well += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
        else:
            well += subprocess.run(["/bin/false"], close_fds=bool(number % 2)).returncode == 1
    return well


def signals(which, how, count):
    came[which] = 0
    signal.signal(which, signal.SIG_IGN if how == 2 else caught)
    signal.siginterrupt(which, how == 1) if how != 2 else None
    for _ in range(count):
        os.kill(os.getpid(), which)
        time.sleep(0.001)
    return came[which] == 0 if how == 2 else came[which] > 0


def ticking(milliseconds):
    came[signal.SIGALRM] = 0
    signal.signal(signal.SIGALRM, caught)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    end = time.monotonic() + milliseconds / 1000
    kept = []
    while time.monotonic() < end:
        kept = [bytearray(600) for _ in range(100)]
    signal.setitimer(signal.ITIMER_REAL, 0)
    return came[signal.SIGALRM] > 0 and len(kept) == 100


def allocation(nth):
    # Large blocks come from malloc, one call each.
    blocks = []
    failed = 0
    shim_call("fault_allocation", nth)
    # The one that fails may be the loop's own: tracemalloc, where it is asked for, allocates beside each.
    while len(blocks) < 12 and failed < 3:
        try:
            while len(blocks) < 12:
                blocks.append(bytes(5000))
        except MemoryError:
            failed += 1
    shim_call("fault_allocation", 0)
    return failed <= 1


def memory(mebibytes):
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + (mebibytes << 20), hard))
    taken = []
    try:
        while True:
            taken.append(bytearray(1 << 20))
    except MemoryError:
        pass
    time.sleep(0.06)
    del taken
    again = bytearray(1 << 19)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    return len(again)


def threads():
    started = [threading.Thread(target=time.sleep, args=(0.001,)) for _ in range(12)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return len(started)


def code(number):
    names = {}
    for part in range(20):
        exec(compile(f"def f{part}_{number}():\n    return [bytearray(700)] * 3\nx = len(f{part}_{number}())\n", f"<{part} {number}>", "exec"), names)
    return names["x"]


def libraries(count):
    well = 0
    for name in ["libm.so.6", "libz.so.1", "libsqlite3.so.0", "libresolv.so.2", "libcrypto.so.3"] * count:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        well += ctypes.CDLL(None).dlclose(ctypes.c_void_p(library._handle)) == 0
    return well > 0


def few_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (8, hard))
    time.sleep(0.12)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return 0


def closes(first, last):
    own = {file.fileno() for file in files}
    for number in range(max(first, 3), last + 1):
        if number not in own:
            try:
                os.close(number)
            except OSError:
                pass
    return 0


def java(kind, count):
    import java.lang
    import java.util

    if kind == "collect":
        java.lang.System.gc()
        return 0
    kept = java.util.ArrayList()
    for number in range(count * 20):
        kept.add(java.lang.StringBuilder("x" * (number % 50)).append(str(number)).toString())
    return kept.size()


def end(how):
    global stop
    sys.stdout.flush()
    # What still comes from outside meets no program that has begun to end.
    for which in (10, 16, 34, 40, 64):
        signal.signal(which, signal.SIG_IGN)
    if how == 0:
        sys.exit(11)
    elif how == 1:
        os._exit(12)
    elif how == 2:
        signal.signal(signal.SIGABRT, signal.SIG_DFL)
        os.abort()
    elif how == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == 4:
        raise RuntimeError("nobody handles this")
    elif how == 5:
        threading.Thread(target=os._exit, args=(13,)).start()
        time.sleep(5)
    elif how == 6:
        os.execv("/bin/sh", ["sh", "-c", "echo another program; exit 15"])
    elif how == 7:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    stop = True


many, classes, words = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
if classes == "jvm":
    import jpype
    import jpype.imports

    jpype.startJVM("-Xmx64m", "-XX:+UseSerialGC", "-Xrs", "-Xshare:auto")
for which in range(1, 65):
    # A JVM has uses of its own for some.
    taken = (signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, 32, 33)
    if which not in taken and not (classes == "jvm" and which in (signal.SIGUSR2, signal.SIGQUIT)):
        signal.signal(which, caught)
files = [open(f"own-{number}", "w+") for number in range(FILES)]
for number in range(many):
    threading.Thread(target=churn, args=(number,), daemon=True).start()
time.sleep(0.3)
how = -1
for place, word in enumerate(words):
    kind, _, numbers = word.partition(":")
    a, b = ([int(number) for number in numbers.split(":") if number] + [0, 0])[:2]
    result = 0
    if kind == "end":
        how = a
        continue
    if kind == "close":
        closes(a, a)
    elif kind == "closes":
        closes(3, 1024)
    elif kind == "signal":
        result = signals(a, b, 3)
    elif kind == "ticking":
        result = ticking(a)
    elif kind == "allocation":
        result = allocation(a)
    elif kind == "memory":
        result = memory(a)
    elif kind == "libraries":
        result = libraries(1 + a // 8)
    elif kind == "threads":
        result = threads()
    elif kind == "few_files":
        result = few_files()
    elif kind == "code":
        result = code(a)
    elif kind == "collect":
        gc.collect()
    elif kind == "clock":
        shim_call("fault_clock", a, 0)
    elif kind == "suspend":
        shim_call("fault_clock", a, a)
    elif kind.startswith("java_"):
        result = java(kind[5:], a)
    else:
        result = children(kind, a)
    print(f"{word}: {int(result)}", flush=True)
    for file in files:
        file.write(f"{place}\n")
        file.flush()
    time.sleep(place * 131 % 9000 / 1e6)
for file in files:
    file.seek(0)
    expected = "".join(f"{place}\n" for place, word in enumerate(words) if not word.startswith("end"))
    if file.read() != expected:
        print(file.name, "was changed")
print("done", flush=True)
end(how)
sys.exit(10)
