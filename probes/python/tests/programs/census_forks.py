"""Children are forked in the middle of censuses: the parent's marker in their lists does no harm."""

import gc
import os
import sys
import threading
import warnings

import driver

warnings.simplefilter("ignore", DeprecationWarning)
driver.attach(mode="gauges")
kept = [[number] for number in range(20_000)]
stop = False
taken = []


def take():
    while not stop:
        taken.append(driver.census(max_stretch_micros=200, pause_micros=200)["outcome"])


thread = threading.Thread(target=take)
thread.start()
for number in range(40):
    child = os.fork()
    if child == 0:
        more = [[one] for one in kept]
        gc.collect()
        gc.freeze()
        gc.unfreeze()
        del kept[:]
        gc.collect()
        ok = len(gc.get_objects()) > 20_000 and len(more) == 20_000
        os._exit(0 if ok else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0, (number, status)
stop = True
thread.join()
assert set(taken) == {"Taken"}, set(taken)
print(len(taken), file=sys.stderr)
print("ok")
