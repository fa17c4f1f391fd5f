"""Measures the work of a program by the processor time of all its threads, after a warm-up, and prints one JSON object.

Argument: rounds. BENCH_TRACEMALLOC: frames that the standard library's tracemalloc keeps; unset, it does not run.
Knows nothing of leakline.
"""

import gc
import json
import os
import sys
import time
import tracemalloc


def measure(work):
    rounds = int(sys.argv[1])
    frames = int(os.environ.get("BENCH_TRACEMALLOC", "0"))
    if frames:
        tracemalloc.start(frames)
    work(max(1, rounds // 5))
    gc.collect()
    begun = time.process_time()
    work(rounds)
    print(json.dumps({"seconds": time.process_time() - begun}))
