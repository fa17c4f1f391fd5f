"""Does something at the rate that was asked for, beside noise and load, and says in the end what was kept.

The parameters come from the environment, as for the programs in other languages: LEAK_RATE (bytes per second),
LEAK_SECONDS, LEAK_NOISE (bytes that are held for a moment), LEAK_LOAD (share of the time that is computed), LEAK_SEED.
"""

import os
import random
import time

RATE = float(os.environ.get("LEAK_RATE", 1 << 20))
SECONDS = float(os.environ.get("LEAK_SECONDS", 12))
NOISE = int(os.environ.get("LEAK_NOISE", 0))
LOAD = float(os.environ.get("LEAK_LOAD", 0))
RANDOM = random.Random(int(os.environ.get("LEAK_SEED", 1)))
PERIOD = 0.02

_noise = []
#: What leaks does so to the end: nothing is given back because the function that fills it returns.
_kept = []


def noise():
    """Holds a random amount until it is called again."""
    _noise.clear()
    left = RANDOM.randint(0, NOISE)
    while left > 0:
        size = RANDOM.randint(16, 8192)
        _noise.append(bytearray(size))
        left -= size


def load(until):
    total = 0
    while time.monotonic() < until:
        total += sum(range(500))
    return total


def steady(passed):
    """Bytes that are due after so many seconds."""
    return passed * RATE


def run(step, item_bytes, due=steady, between=None):
    """Calls `step` once per `item_bytes` that `due` says are due. Prints what was kept by it."""
    compare = tracing()
    _kept.append((step, between))
    begun = time.monotonic()
    items = 0
    while (passed := time.monotonic() - begun) < SECONDS:
        while (items + 1) * item_bytes <= due(passed):
            step(items)
            items += 1
        noise()
        if between is not None:
            between(passed)
        load(time.monotonic() + PERIOD * LOAD)
        time.sleep(PERIOD * (1 - LOAD))
    print(f"kept {items * item_bytes:.0f}", flush=True)
    compare()


def tracing():
    """With LEAK_PEER=tracemalloc: what the standard library's difference between two snapshots says."""
    if os.environ.get("LEAK_PEER") != "tracemalloc":
        return lambda: None
    import tracemalloc

    tracemalloc.start(10)
    before = tracemalloc.take_snapshot()

    def compare():
        for difference in tracemalloc.take_snapshot().compare_to(before, "lineno")[:3]:
            frame = difference.traceback[0]
            print(f"peer {os.path.basename(frame.filename)}:{frame.lineno} {difference.size_diff}")

    return compare
