"""Subinterpreters come and go while the main one is read."""

try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

import driver

driver.attach(frames=3)
before = driver.details()["total"]
ids = [interpreters.create() for _ in range(3)]
for id in ids:
    interpreters.run_string(id, "kept = [bytearray(1000) for _ in range(100)]\nimport json")
    assert driver.gauges()["gauges"]["python.traced_bytes"] > 0
    assert driver.details()["total"][0] > before[0]
for id in ids:
    interpreters.destroy(id)
    driver.details()
print("ok")
