"""Uses leakline's functions for Python, and says what they answered: a line for each. With `wait`, once it runs."""

import sys
import time

import leakline

end = time.monotonic() + (20 if "wait" in sys.argv else 0)
while not leakline.is_present() and time.monotonic() < end:
    time.sleep(0.01)


def say(what, answer):
    print(what, answer, flush=True)


say("present", leakline.is_present())
say("mark", leakline.mark("reconnect"))
first, second = leakline.snapshot_now(), leakline.snapshot_now()
say("snapshots", first and second and second["number"] - first["number"])
say("stats", (leakline.stats() or {}).get("number", -1) >= (second or {}).get("number", 0))
say("reset", leakline.reset_baseline())
say("window", leakline.open_window(1))
say("no-window", leakline.open_window(0))
say("close", leakline.close_window())
say("census", leakline.take_census())
say("cycles", leakline.look_for_cycles())
say("stop", leakline.stop())
say("after", leakline.mark("late"))
