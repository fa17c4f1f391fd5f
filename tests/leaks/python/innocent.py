"""Python programs whose memory grows, moves or stays, and that must not be called leaks; the argument says which."""

import collections
import functools
import gc
import logging
import logging.handlers
import math
import pathlib
import sys
import tempfile
import time

import pace

SIZE = 2000
ITEM = SIZE + 33 + 8


def fill(seconds):
    """A `due` that stops after so many seconds."""
    return lambda passed: min(passed, seconds) * pace.RATE


def warm_cache():
    cache = {}

    def step(number):
        cache[number] = bytes(SIZE)

    pace.run(step, ITEM, due=fill(pace.SECONDS / 4), between=lambda _: sum(map(len, cache.values())))


def lru_at_its_bound():
    @functools.lru_cache(maxsize=500)
    def render(number):
        return b"%d" % number + bytes(SIZE)

    pace.run(render, ITEM)


class Node:
    def __init__(self):
        self.payload = bytes(SIZE)
        self.me = self


def sawtooth():
    # Collected every couple of seconds, as the collector does under a light load.
    gc.disable()
    last = [0]

    def between(passed):
        if passed - last[0] > 1.5:
            gc.collect()
            last[0] = passed

    pace.run(lambda _: Node(), ITEM + 100, between=between)


def daily_cycle():
    held = []

    def between(passed):
        wanted = int(pace.RATE * (1 - math.cos(passed * 2 * math.pi / (pace.SECONDS / 3))) / ITEM)
        while len(held) < wanted:
            held.append(bytes(SIZE))
        del held[wanted:]

    pace.run(lambda _: None, 1 << 20, between=between)


def start_up():
    modules = []
    pace.run(lambda _: modules.append([str(n) for n in range(1000)]), 60_000, due=fill(pace.SECONDS / 6))


def arenas_after_a_spike():
    # One small object in each arena's pages keeps it.
    spike = [bytes(200) for _ in range(100_000)]
    kept = spike[::2000]
    del spike
    pace.run(lambda _: bytes(SIZE), ITEM, between=lambda _: len(kept))


def log_rotation():
    with tempfile.TemporaryDirectory() as folder:
        handler = logging.handlers.RotatingFileHandler(
            pathlib.Path(folder) / "service.log", maxBytes=200_000, backupCount=2
        )
        log = logging.getLogger("service")
        log.setLevel(logging.INFO)
        log.propagate = False
        log.addHandler(handler)
        text = "x" * SIZE
        pace.run(lambda number: log.info("%d %s", number, text), ITEM)
        handler.close()


def slow_plateau():
    cache = []
    # What is left to the bound falls to a third every sixth of the time.
    scale = pace.SECONDS / 6
    pace.run(
        lambda _: cache.append(bytes(SIZE)),
        ITEM,
        due=lambda passed: pace.RATE * 2 * (1 - math.exp(-passed / scale)),
    )


def ring():
    last = collections.deque(maxlen=400)
    pace.run(lambda _: last.append(bytes(SIZE)), ITEM)


def spike():
    held = []

    def between(passed):
        if abs(passed - pace.SECONDS / 2) < 0.5:
            held.append(bytes(100_000))
        else:
            held.clear()

    pace.run(lambda _: None, 1 << 20, between=between)


def one_off():
    held = []

    def between(passed):
        if passed > pace.SECONDS / 3 and not held:
            held.append([bytes(SIZE) for _ in range(3000)])

    pace.run(lambda _: None, 1 << 20, between=between)


def idle():
    time.sleep(pace.SECONDS)
    print("kept 0")


PROGRAMS = {
    "warm-cache": warm_cache,
    "lru": lru_at_its_bound,
    "sawtooth": sawtooth,
    "daily-cycle": daily_cycle,
    "start-up": start_up,
    "arenas": arenas_after_a_spike,
    "log-rotation": log_rotation,
    "slow-plateau": slow_plateau,
    "ring": ring,
    "spike": spike,
    "one-off": one_off,
    "idle": idle,
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]]()
