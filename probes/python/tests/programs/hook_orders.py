"""tracemalloc comes and goes under, over and around the hook, in every order of few steps; traces and debuggers run
meanwhile. Afterwards the hook is reached, what it says is right, and tracemalloc is as the host left it.

Arguments: the mode, how many steps.
"""

import bdb
import gc
import itertools
import os
import sys
import traceback
import tracemalloc

import driver

MODE = sys.argv[1]
kept = []


def plant():
    return [bytes(bytearray(1000 + index)) for index in range(300)]


STEPS = {
    "attach": lambda: driver.attach(anew=True, mode=MODE, mean=1024, frames=4),
    "detach": lambda: driver.detach(),
    "start": lambda: tracemalloc.start(3),
    "stop": lambda: tracemalloc.stop(),
    "gauges": lambda: driver.gauges(),
}


class Debugger(bdb.Bdb):
    def user_line(self, frame):
        self.set_step()


def traced(work):
    events = [0]

    def count(frame, event, argument):
        events[0] += 1
        return count

    for put, take in ((lambda: sys.settrace(count), lambda: sys.settrace(None)), (lambda: sys.setprofile(count), lambda: sys.setprofile(None))):
        put()
        try:
            work()
        finally:
            take()
    Debugger().runcall(work)
    assert events[0] > 0
    return work()


def check(steps):
    for step in steps + ("attach",):
        answer = STEPS[step]()
        assert step != "attach" or "name" in answer, answer
        kept.append(traced(plant) if steps[0] == "attach" else plant())
    tracing = tracemalloc.is_tracing()
    driver.gauges()
    driver.right(driver.details(sites=False))
    # The other way round: if tracing began first, its end takes the hook away with it. At the next look it is there.
    tracemalloc.stop()
    kept.clear()
    # A debugger is in a cycle with the last frame that it saw.
    gc.collect()
    driver.gauges()
    notes = driver.right(driver.details(sites=False))["notes"]
    was_lost = any("set anew" in note or "took leakline's away" in note for note in notes)
    began_first = "start" in steps and "stop" not in steps and "attach" not in steps[: steps.index("start")]
    assert was_lost or not (began_first and tracing), notes
    if MODE == "exact":
        driver.attach(anew=True, mode=MODE, frames=4)
    planted = plant()
    sites = driver.right(driver.details())["sites"]
    here = sum(size for frames, _, size, *_ in sites if [__file__, LINE] in frames)
    assert 250_000 < here < 550_000, (here, notes)
    assert not tracemalloc.is_tracing()


LINE = plant.__code__.co_firstlineno + 1
for steps in itertools.product(STEPS, repeat=int(sys.argv[2])):
    # Once set, the hook stays, so each order needs a process where it never was.
    child = os.fork()
    if child == 0:
        code = 1
        try:
            check(steps)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status == 0, (steps, status)
print("ok")
