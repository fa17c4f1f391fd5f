"""Subinterpreters come and go while the main one is read.

Before 3.13, tracemalloc itself (without leakline) hangs or crashes when a thread changes into a subinterpreter that it
has created, so there only gauges are read.
"""

import sys

try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

import driver

traces = sys.version_info >= (3, 13)
driver.attach(frames=3, mode="tracemalloc" if traces else "gauges")
before = driver.gauges()["gauges"]
ids = [interpreters.create() for _ in range(3)]
for id in ids:
    interpreters.run_string(id, "kept = [bytearray(1000) for _ in range(100)]\nimport json")
    gauges = driver.gauges()["gauges"]
    assert gauges["python.gc_collections"] >= before["python.gc_collections"]
    if traces:
        assert gauges["python.traced_bytes"] > before["python.traced_bytes"]
        assert driver.details()["total"][0] > 100_000
for id in ids:
    interpreters.destroy(id)
    driver.details()
print("ok")
