"""Exact mode equals tracemalloc, which was started first: call path by call path, bytes and blocks.

Only types that CPython keeps no free list of: for what comes from a free list, tracemalloc moves the trace to who took it
out, while the memory itself was allocated once.
"""

import gc
import sys
import tracemalloc

import driver

FRAMES = 6
kept = {}


class Filled:
    __slots__ = ("number",)

    def __init__(self, number):
        self.number = number


class Slotted:
    __slots__ = ("one", "two")


def recurse(depth, made):
    return made() if depth == 0 else recurse(depth - 1, made)


MAKERS = (
    lambda: bytes(bytearray(700)),
    lambda: bytearray(40),
    lambda: bytearray(5000),
    lambda: "%d is a text" % len(kept),
    lambda: "é" * (400 + len(kept)),
    lambda: 1 << (200 + len(kept)),
    lambda: {Slotted, "b", 3.5},
    lambda: Slotted(),
    lambda: Filled(7),
    lambda: object(),
    lambda: grown(),
)


def grown():
    array = bytearray(10)
    for size in (100, 1000, 20_000, 300):
        array.extend(bytes(size))
    del array[50:]
    return array


def work(round):
    for depth in range(10):
        for number, maker in enumerate(MAKERS):
            for again in range(5):
                kept[round, depth, number, again] = recurse(depth, maker)
    # Some go again.
    for number in range(len(MAKERS)):
        for depth in range(0, 10, 3):
            kept[round, depth, number, 2] = None


tracemalloc.start(FRAMES)
driver.attach(mode="exact", frames=FRAMES)
# Room for all keys is there before, so that the container itself is none of what is compared.
work(0)
# What was allocated before the window is in tracemalloc only.
gc.disable()
for round in (1, 2):
    work(round)
# Gives back what lies in free lists, of which the same is true.
gc.collect()
snapshot = tracemalloc.take_snapshot()
details = driver.right(driver.details())
assert details["source"] == "exact", details["source"]
theirs, ours = {}, {}


def is_planted(frames):
    """Allocated by a maker, whose innermost frame is in it or in what it calls."""
    file, line = frames[0]
    return file == __file__ and line in LINES


first = MAKERS[0].__code__.co_firstlineno
LINES = {maker.__code__.co_firstlineno for maker in MAKERS}
LINES |= set(range(grown.__code__.co_firstlineno, grown.__code__.co_firstlineno + 6))
LINES.add(Filled.__init__.__code__.co_firstlineno + 1)
for trace in snapshot.traces:
    frames = tuple((frame.filename, frame.lineno) for frame in reversed(trace.traceback))
    if is_planted(frames):
        key = frames, trace.traceback.total_nframe > len(frames)
        size, count = theirs.get(key, (0, 0))
        theirs[key] = size + trace.size, count + 1
for frames, truncated, size, count, *_ in details["sites"]:
    frames = tuple((file, line) for file, line in frames)
    if frames and count and is_planted(frames):
        ours[frames, truncated] = size, count
assert len(theirs) >= 80, len(theirs)


def is_alike(expected, found):
    blocks, size = abs(expected[1] - found[1]), abs(expected[0] - found[0])
    # Before 3.11, each function's code keeps one frame to use again, which nothing but its end gives back.
    return blocks == size == 0 or sys.version_info < (3, 11) and blocks == 1 and 350 < size < 600


none = (0, 0)
paths = theirs.keys() | ours.keys()
unlike = [
    (path, theirs.get(path, none), ours.get(path, none))
    for path in paths
    if not is_alike(theirs.get(path, none), ours.get(path, none))
]
print(len(theirs), "paths,", len(unlike), "unlike", file=sys.stderr)
for key, expected, found in unlike[:5]:
    print([line for _, line in key[0]], key[1], "tracemalloc", expected, "ours", found, file=sys.stderr)
assert not unlike
print("ok")
