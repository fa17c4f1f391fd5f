"""What leakline's probe holds and how long its profiles take, asked of the probe itself through the tests' driver.
Prints one JSON object.

Arguments: what (snapshot, sampling, exact, tracemalloc, off), how many (call paths, or objects), the driver's path.
"""

import ctypes
import gc
import json
import sys
import tracemalloc

WHAT, COUNT = sys.argv[1], int(sys.argv[2])
# Twice the call paths that are wanted are walked: a few hold nothing that was sampled.
LEVELS = 16
READINGS = 21


def call_paths():
    """A function that keeps a block of memory through one of 65,536 call paths of 18 frames."""
    source = ["kept = []", "def level0(size, path): kept.append(bytes(size))"]
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


class Probe:
    def __init__(self, options):
        # Both load the same library. The second keeps the GIL through a call: what needs it would never come back.
        self.free = ctypes.CDLL(sys.argv[3])
        self.keeping_the_gil = ctypes.PyDLL(sys.argv[3])
        answer = self.call("attach", json.dumps(options).encode())
        assert "name" in answer, answer

    def call(self, name, *arguments, keep_gil=False):
        function = getattr(self.keeping_the_gil if keep_gil else self.free, "driver_" + name)
        function.restype = ctypes.c_void_p
        address = function(*arguments)
        answer = json.loads(ctypes.string_at(address))
        self.free.driver_free(ctypes.c_void_p(address))
        return answer


def resident():
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")) * 1024


def snapshot():
    probe = Probe({"mode": "sampling", "mean": 1024})
    for path in range(COUNT + COUNT // 20):
        # Eight times the mean: one block in 3,000 is not sampled. An odd step, so that neighbours differ.
        allocate(8192, path * 7919 % (1 << LEVELS))
    first = probe.call("snapshot", keep_gil=True)
    readings, growths = [], []
    for reading in range(READINGS):
        for path in range(200):
            allocate(1024, (reading + path) * 7919 % (1 << LEVELS))
        readings.append(probe.call("snapshot", keep_gil=True))
        growths.append(probe.call("growth"))
    return {"first": first["nanos"], "snapshots": [one["nanos"] for one in readings],
            "locked": [one["longest_stall_nanos"] for one in readings], "growths": [one["nanos"] for one in growths],
            "sites": min(one["total"][2] for one in readings)}


class Small:
    __slots__ = ("number",)


def objects():
    """What is resident more after the objects were made, and what the tracer says that it holds of it."""
    probe = Probe({"mode": WHAT, "mean": 65536, "frames": 10}) if WHAT in ("sampling", "exact") else None
    if WHAT == "tracemalloc":
        tracemalloc.start(10)
    gc.collect()
    made, before = [None] * COUNT, resident()
    for place in range(COUNT):
        # Of four kinds, at four places.
        kind = place & 3
        if kind == 0:
            made[place] = Small()
        elif kind == 1:
            made[place] = (WHAT, None)
        elif kind == 2:
            made[place] = bytes(40)
        else:
            made[place] = object()
    grown = resident() - before
    if WHAT == "tracemalloc":
        return {"grown": grown, "held": tracemalloc.get_tracemalloc_memory(), "blocks": COUNT}
    if probe is None:
        return {"grown": grown, "held": 0, "blocks": COUNT}
    details = probe.call("snapshot")
    assert "total" in details, details
    return {"grown": grown, "held": details["held_bytes"], "blocks": details["total"][1]}


kept, allocate = call_paths()
print(json.dumps(snapshot() if WHAT == "snapshot" else objects()))
