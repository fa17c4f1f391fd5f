"""What is worse than it could be is told at every attach, not only at the first one: a preloaded agent attaches while
Python starts, and again when its probe comes."""

import sys

# As in a debug build of a version that publishes no offsets: its frames may differ, and are asked for by the API.
sys.gettotalrefcount = lambda: 0

import driver

for anew in (False, True, True):
    driver.attach(mode="sampling", anew=anew)
    notes = driver.details(False)["notes"]
    slow = [note for note in notes if "through Python's API" in note]
    none = [note for note in notes if note.startswith("no call paths: ")]
    if sys.version_info < (3, 12):
        assert len(slow) == 1 and "native ones lack Python's frames" in slow[0], notes
    elif sys.version_info < (3, 13):
        assert len(none) == 1 and "native ones lack Python's frames, too" in none[0], notes
        assert "from 3.12 on" in none[0], notes
    else:
        assert not slow and not none, notes
print("ok")
