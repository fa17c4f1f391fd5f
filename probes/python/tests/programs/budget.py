"""A profile that costs more than a tick's budget is paid for by those left out after it; one that would hold up Python
for too long is not taken at all; stretches stay short; call paths are forgotten beyond their limit."""

import sys
import time
import threading

import driver

case = sys.argv[1]
if case == "left out":
    driver.attach(frames=2, gil_budget_ms=1)
    kept = [bytearray(1) for _ in range(50_000)]
    first = driver.details(sites=False, requested=False)
    assert "total" in first, first
    ticks = -(-first["gil_held_nanos"] // 1_000_000) - 1
    assert ticks > 2, ticks
    note = driver.details(sites=False, requested=False)
    assert "total" not in note and "budget" in note["notes"][0], note
    # Somebody who asks gets one.
    assert "total" in driver.details(sites=False, requested=True)
elif case == "too long":
    driver.attach(frames=2, max_stall_ms=1)
    kept = [bytearray(1) for _ in range(50_000)]
    details = driver.details(sites=False)
    assert "total" not in details and "would hold up Python" in details["notes"][0], details
    kept = None
elif case == "short stretches":
    driver.attach(frames=2)
    kept = [bytearray(1) for _ in range(200_000)]
    details = driver.details(sites=False)
    assert details["total"][1] > 200_000, details
    # The copy is one stretch, and there are many more.
    assert details["longest_stall_nanos"] < details["gil_held_nanos"] * 0.95, details
elif case == "many call paths":
    driver.attach(frames=2, max_sites=100, filters=[])
    for again in range(5):
        kept = []
        for number in range(150):
            exec(compile("kept.append(bytearray(1000))", "/made/up/%d-%d.py" % (again, number), "exec"))
        sites = driver.details()["sites"]
        # Free lists of CPython's may keep a small object of the round before.
        made = [frames[:1] for frames, _, size, *_ in sites if size > 1000]
        found = {file for frames in made for file, _ in frames if file.startswith("/made/up/")}
        assert len(found) == 150 and all("/%d-" % again in file for file in found), len(found)
else:
    raise SystemExit("no such case: " + case)
print("ok")
