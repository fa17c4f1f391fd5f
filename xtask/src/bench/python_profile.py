"""Taking and diffing one Python profile: leakline's probe, and the standard library's tracemalloc, on the same traces of
the same process. Started by `cargo xtask bench`; prints one JSON object.

Arguments: live traces, rounds, which (leakline, stdlib), the driver's path.
The state is made before either is measured; each of the two peaks is that of a process of its own.
"""

import ctypes
import gc
import json
import resource
import sys
import time
import tracemalloc

TRACES, ROUNDS, WHICH, DRIVER = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
FRAMES = 10
# The filters of the profiler that leakline replaces.
FILTERS = (
    tracemalloc.Filter(False, "<frozen importlib._bootstrap>"),
    tracemalloc.Filter(False, "<frozen importlib._bootstrap_external>"),
    tracemalloc.Filter(False, "<unknown>"),
)


LEAVES, LEVELS = 8, 12


def call_paths():
    """A function that keeps a block of memory, through one of some thousand call paths of more than ten frames."""
    source = ["kept = []"]
    for leaf in range(LEAVES):
        source += ["def leaf%d(size, path):" % leaf, "    kept.append(bytes(size))"]
    source.append("leaves = [%s]" % ", ".join("leaf%d" % leaf for leaf in range(LEAVES)))
    source.append("def level0(size, path): leaves[path >> %d](size, path)" % LEVELS)
    for level in range(1, LEVELS + 1):
        source += [
            "def level%d(size, path):" % level,
            "    if path & %d:" % (1 << (level - 1)),
            "        return level%d(size, path)" % (level - 1),
            "    return level%d(size, path)" % (level - 1),
        ]
    names = {}
    exec(compile("\n".join(source), "/made/up/program.py", "exec"), names)
    return names["kept"], names["level%d" % LEVELS]


def vm(name):
    with open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return 0


def reset_peak():
    """True when VmHWM counts from now on."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as clear:
            clear.write("5")
        return True
    except OSError:
        return False


def grow(by):
    made = len(kept)
    number = 0
    while len(kept) - made < by:
        # An odd step, so that every call path comes up, next to its neighbours or not.
        allocate(16 + number % 200, number * 7919 % (LEAVES << LEVELS))
        number += 1


def measured(work):
    """CPU seconds of the process, wall seconds, and bytes of peak over what was resident before."""
    reset_peak()
    before = vm("VmRSS:")
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return result, {"cpu": cpu, "wall": wall, "peak_bytes": max(0, vm("VmHWM:") - before)}


def standard_library():
    tracemalloc.start(FRAMES)
    grow(TRACES)
    baseline = tracemalloc.take_snapshot().filter_traces(FILTERS)
    runs = []
    for _ in range(ROUNDS):
        grow(100)
        stalled = []

        def profile():
            begun = time.perf_counter()
            snapshot = tracemalloc.take_snapshot()
            stalled.append(time.perf_counter() - begun)
            return snapshot.filter_traces(FILTERS).compare_to(baseline, "traceback")

        differences, run = measured(profile)
        # One C call is one stall; the rest is Python code, all of it under the GIL, too.
        run.update(gil=run["cpu"], stall=stalled[0], sites=len(differences), traces=len(baseline.traces))
        runs.append(run)
        del differences
        gc.collect()
    return runs


def leakline():
    library = ctypes.CDLL(DRIVER)

    def call(name, *arguments):
        function = getattr(library, "driver_" + name)
        function.restype = ctypes.c_void_p
        address = function(*arguments)
        answer = json.loads(ctypes.string_at(address))
        library.driver_free(ctypes.c_void_p(address))
        return answer

    attached = call("attach", json.dumps({"frames": FRAMES, "max_stall_ms": 60_000}).encode())
    assert "name" in attached, attached
    grow(TRACES)
    first = call("details", 0, 1)
    assert "total" in first, first
    runs = []
    for _ in range(ROUNDS):
        grow(100)
        (details, growth), run = measured(lambda: (call("details", 0, 1), call("growth")))
        run.update(
            gil=details["gil_held_nanos"] / 1e9,
            stall=details["longest_stall_nanos"] / 1e9,
            sites=details["total"][2],
            traces=details["total"][1],
            changed=growth["sites"],
            held_bytes=details["held_bytes"],
        )
        runs.append(run)
    return runs


kept, allocate = call_paths()
peaks_count = reset_peak()
runs = standard_library() if WHICH == "stdlib" else leakline()
print(json.dumps({"python": sys.version.split()[0], "runs": runs, "peaks_count": peaks_count,
                  "max_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
