"""Work with numpy, by turns: arrays of all sizes, products, sorting, text to numbers. Each line on standard input asks
for a turn and is answered with `done`. Argument: rounds a turn. BENCH_WAIT: milliseconds until whatever watches has begun.
Knows nothing of leakline.
"""

import os
import sys
import time

import numpy

ROUNDS = int(sys.argv[1])
RANDOM = numpy.random.default_rng(7)


def work():
    for _ in range(ROUNDS):
        table = RANDOM.random((400, 50))
        squares = table.T @ table
        numpy.linalg.eigvalsh(squares)
        rows = [row[row > 0.5] for row in table]
        joined = numpy.concatenate(rows)
        joined.sort()
        means = [chunk.mean() for chunk in numpy.array_split(joined, 40)]
        text = " ".join(f"{mean:.6f}" for mean in means)
        numpy.array(text.split(), dtype=float).cumsum()


time.sleep(int(os.environ.get("BENCH_WAIT", "0")) / 1000)
work()
work()
print("ready", flush=True)
for _ in sys.stdin:
    work()
    print("done", flush=True)
