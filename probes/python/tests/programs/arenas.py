"""Pymalloc's arenas, as leakline counts them, against what CPython writes by itself, with and without tracemalloc on top;
planted amounts; a spike that is freed and leaves its arenas behind; the collector's and the interned strings' gauges."""

import gc
import os
import re
import sys
import tempfile
import tracemalloc

import driver

case = sys.argv[1]


def own_words():
    """What sys._debugmallocstats writes to the C library's stderr; None where it is silent."""
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        sys._debugmallocstats()
        os.dup2(kept, 2)
        os.close(kept)
        file.seek(0)
        text = file.read().decode()
    found = [
        re.search(pattern + r"[^=\n]*=\s*([\d,]+)", text)
        for pattern in ("bytes/arena", "in allocated blocks", "unused pools")
    ]
    return [int(match.group(1).replace(",", "")) for match in found] if all(found) else None


def read():
    details = driver.details(sites=False)
    names = ("python.arena_bytes", "python.arena_used_bytes", "python.arena_unused_pool_bytes")
    return [details["gauges"].get(name) for name in names]


def near(found, expected, slack):
    assert abs(found - expected) <= slack, (found, expected, slack)


def as_cpython_says():
    mine, its = read(), own_words()
    assert its, "CPython is silent"
    # Between the two, this program itself allocates.
    for found, expected in zip(mine, its):
        near(found, expected, 300_000)


driver.attach(mode="gauges")
if case == "counted":
    as_cpython_says()
    before = read()
    # A float of 24 bytes takes 32 in its size class.
    kept = [float(number) for number in range(1_000_000)]
    after = read()
    near(after[1] - before[1], 1_000_000 * 32, 600_000)
    as_cpython_says()
    # Tracing hides the arenas from CPython's own function, not from leakline; and it goes on as before.
    tracemalloc.start()
    assert own_words() is None
    traced_before = tracemalloc.get_traced_memory()[0]
    under = read()
    near(under[1], after[1], 600_000)
    more = [float(number) for number in range(10_000)]
    assert tracemalloc.get_traced_memory()[0] - traced_before > 10_000 * 24
    del more
    tracemalloc.stop()
    as_cpython_says()
    # Every hundredth is kept: what was freed stays mapped.
    kept = kept[::100]
    gc.collect()
    spiked = read()
    assert spiked[1] < before[1] + 2_000_000, (before, spiked)
    assert spiked[0] > before[0] + 20_000_000, (before, spiked)
elif case == "threads":
    # Readings while four threads allocate and free under tracemalloc: it misses nothing that is allocated or freed.
    import threading
    import time

    tracemalloc.start()
    end = time.monotonic() + 1.5

    def work():
        while time.monotonic() < end:
            [str(number) for number in range(1000)]

    threads = [threading.Thread(target=work) for _ in range(4)]
    before = tracemalloc.get_traced_memory()[0]
    for thread in threads:
        thread.start()
    readings = 0
    while time.monotonic() < end:
        assert None not in read()
        readings += 1
    for thread in threads:
        thread.join()
    assert readings >= 3, readings
    near(tracemalloc.get_traced_memory()[0], before, 300_000)
elif case == "none":
    driver.gauges()
    assert read() == [None, None, None], read()
    assert driver.details(sites=False)["notes"] == []
elif case == "gauges":
    gauges = driver.gauges()["gauges"]
    stats = gc.get_stats()
    for name, stat in zip(("young", "middle", "old"), stats):
        near(gauges["python.gc_%s_collections" % name], stat["collections"], 3)
    assert gauges["python.gc_enabled"] == 1 and gauges["python.gc_garbage_objects"] == 0
    gc.disable()
    gc.garbage.append([])
    gauges = driver.gauges()["gauges"]
    assert gauges["python.gc_enabled"] == 0 and gauges["python.gc_garbage_objects"] == 1
    assert gauges["python.gc_middle_count"] == gc.get_count()[1]
    gc.garbage.clear()
    gc.enable()
    gc.freeze()
    near(driver.details()["gauges"]["python.gc_frozen_objects"], gc.get_freeze_count(), 10)
    gc.unfreeze()
    if sys.version_info >= (3, 12):
        near(gauges["python.interned_strings"], sys.getunicodeinternedsize(), 50)
    else:
        assert "python.interned_strings" not in gauges
elif case == "cost":
    kept = []
    for megabytes in (0, int(sys.argv[2])):
        kept.append([float(number) for number in range(megabytes * 32_768)])
        for _ in range(3):
            details = driver.details(sites=False)
        print(sys.version[:7], details["gauges"]["python.arena_bytes"] / 2**20, "MiB,", details["gil_held_nanos"], "ns")
print("ok")
