"""Measures the work of a program by the processor time of all its threads, after a warm-up.

Argument: rounds. Each line on standard input asks for that many, and is answered with a line: seconds.
BENCH_TRACEMALLOC: frames that the standard library's tracemalloc keeps; unset, it does not run.
Knows nothing of leakline.
"""

import gc
import os
import sys
import time
import tracemalloc


def measure(work):
    rounds = int(sys.argv[1])
    frames = int(os.environ.get("BENCH_TRACEMALLOC", "0"))
    if frames:
        tracemalloc.start(frames)
    work(rounds)
    work(rounds)
    gc.collect()
    print("ready", flush=True)
    for _ in sys.stdin:
        begun = time.process_time()
        work(rounds)
        print(time.process_time() - begun, flush=True)
