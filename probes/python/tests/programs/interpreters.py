"""Subinterpreters come and go while the main one is read.

Before 3.13 and on 3.14, tracemalloc itself (without leakline) hangs or crashes when a thread changes into a
subinterpreter that it has created, so there only gauges are read.
"""

import sys

try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

import driver

can_trace = sys.version_info[:2] == (3, 13) or sys.version_info >= (3, 15)
mode = sys.argv[1] if len(sys.argv) > 1 else "tracemalloc" if can_trace else "gauges"
traces = mode == "tracemalloc"
driver.attach(frames=3, mean=1024, mode=mode)
before = driver.gauges()["gauges"]
ids = [interpreters.create() for _ in range(3)]
for id in ids:
    interpreters.run_string(id, "kept = [bytearray(1000) for _ in range(100)]\nimport json")
    gauges = driver.gauges()["gauges"]
    assert gauges["python.gc_collections"] >= before["python.gc_collections"]
    if traces:
        assert gauges["python.traced_bytes"] > before["python.traced_bytes"]
    found = driver.details(False)
    assert found["gauges"].get("python.arena_bytes", 0) > 1 << 18, "arenas are counted beside others"
    told = any("a subinterpreter's own arenas" in note for note in found["notes"])
    assert told == (sys.version_info >= (3, 12)), found["notes"]
    if mode != "gauges":
        assert driver.right(driver.details())["total"][0] > 90_000
for id in ids:
    interpreters.destroy(id)
    driver.details()
print("ok")
