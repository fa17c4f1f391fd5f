"""What was started here is stopped here; what the host started is left as it is."""

import sys
import tracemalloc

import driver

case = sys.argv[1]
if case == "ours":
    assert not tracemalloc.is_tracing()
    driver.attach(frames=3)
    assert tracemalloc.is_tracing() and tracemalloc.get_traceback_limit() == 3
    assert driver.details()["notes"] == []
    driver.attach()
    driver.detach()
    assert not tracemalloc.is_tracing()
    driver.detach()
    assert "error" in driver.gauges()
    assert "name" in driver.attach() and tracemalloc.is_tracing()
elif case == "the host's":
    tracemalloc.start(2)
    driver.attach(frames=10)
    assert tracemalloc.get_traceback_limit() == 2
    driver.gauges()
    notes = driver.details()["notes"]
    assert notes[0] == "the host traces allocations itself, with 2 frames; this is left as it is", notes
    # CPython does not count pymalloc's arenas while something stands on top, and what is below is not known.
    assert [note.split(":")[0] for note in notes[1:]] == ["pymalloc's arenas are not counted"], notes
    driver.detach()
    assert tracemalloc.is_tracing()
elif case == "only gauges":
    driver.attach(mode="gauges")
    assert not tracemalloc.is_tracing()
    gauges = driver.gauges()["gauges"]
    assert "python.gc_collections" in gauges and "python.traced_bytes" not in gauges, gauges
    details = driver.details()
    assert "total" not in details and details["notes"] == [], details
    tracemalloc.start()
    assert "python.traced_bytes" in driver.gauges()["gauges"]
    assert "total" in driver.details()
elif case == "off":
    assert driver.attach(mode="off")["absent"] == "switched off"
elif case == "ours, stopped by the host":
    driver.attach(frames=3)
    tracemalloc.stop()
    assert "python.traced_bytes" not in driver.gauges()["gauges"]
    notes = driver.details()["notes"]
    assert len(notes) == 1 and "started again" in notes[0], notes
    assert tracemalloc.get_traceback_limit() == 3 and tracemalloc.is_tracing()
    assert driver.details()["notes"] == []
elif case == "the host's, stopped by the host":
    tracemalloc.start(2)
    driver.attach(frames=3)
    tracemalloc.stop()
    driver.gauges()
    notes = driver.details()["notes"]
    assert notes == ["the host stopped its tracing: there is no profile until it starts it"], notes
    assert not tracemalloc.is_tracing()
elif case == "ours, taken over by the host":
    driver.attach(frames=3)
    tracemalloc.stop()
    tracemalloc.start(7)
    driver.gauges()
    driver.details()
    driver.detach()
    assert tracemalloc.is_tracing() and tracemalloc.get_traceback_limit() == 7
else:
    raise SystemExit("no such case: " + case)
print("ok")
