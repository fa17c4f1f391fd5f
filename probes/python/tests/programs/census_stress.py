"""Threads allocate, free, collect and freeze while censuses are taken: nothing breaks, no finaliser of the host runs on
leakline's thread, and what does not change is counted as it is."""

import gc
import sys
import threading
import time
import weakref

import driver

THREADS = int(sys.argv[1])
CENSUSES = int(sys.argv[2])
known = set()
foreign = []
stop = False


class Noted:
    """Both a cycle, which the collector ends, and something that ends when its last reference goes."""

    def __init__(self, in_cycle):
        self.me = self if in_cycle else None
        self.more = [in_cycle, {}]

    def __del__(self):
        if threading.get_ident() not in known:
            foreign.append(threading.get_ident())


class Fixed:
    pass


def noted(reference):
    if threading.get_ident() not in known:
        foreign.append(threading.get_ident())


def work(number):
    known.add(threading.get_ident())
    kept = []
    references = []
    round = 0
    while not stop:
        round += 1
        kept.append([Noted(round % 3 == 0) for _ in range(50)])
        references.append(weakref.ref(kept[-1][0], noted))
        kept.append({name: (name, [name]) for name in range(30)})
        # Classes come and go, too.
        made = type("Made%d" % (round % 5), (Noted,), {"__slots__": ("slot",)})
        kept.append([made(round % 2 == 0) for _ in range(5)])
        if len(kept) > 15:
            del kept[:50]
            del references[:10]
        # Lets others have a turn.
        time.sleep(0.001)
        if number == 0 and round % 20 == 0:
            gc.collect(2 if round % 200 == 0 else 1)
        if number == 1 and round % 300 == 0:
            gc.freeze()
            gc.unfreeze()
        if number == 2 and round % 30 == 0:
            gc.disable()
            gc.enable()
        if number == 3 and round % 10 == 0:
            len(gc.get_objects(generation=0))
        if number == 4 and round % 7 == 0:
            try:
                raise ValueError(kept)
            except ValueError as error:
                kept.append(error)


known.add(threading.get_ident())
fixed = [Fixed() for _ in range(5000)]
driver.attach(mode="gauges")
threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
for thread in threads:
    thread.start()
taken, restarted, off = 0, 0, []
begun = time.time()
longest = []
for number in range(CENSUSES):
    census = driver.census(holder_types=6, max_types=1000, max_stretch_micros=(200, 500, 2000)[number % 3], pause_micros=100)
    assert census["outcome"] in ("Taken", "TooMany"), census
    longest.append(census["cost"]["longest_stretch_nanos"])
    if census["outcome"] == "Taken":
        taken += 1
        restarted += census["full_collections"] > 0
        found = [one["count"] for one in census["types"] if one["name"] == "__main__.Fixed"]
        off.append(abs(found[0] - 5000) if found else 5000)
    if time.time() - begun > 15:
        break
stop = True
for thread in threads:
    thread.join()
del threads
gc.collect()
assert not foreign, foreign
longest.sort()
off.sort()
print(taken, "taken", restarted, "with a full collection", time.time() - begun, "s; longest stretch: median", longest[len(longest) // 2] / 1e6, "ms, worst", longest[-1] / 1e6, "; Fixed off by median", off[len(off) // 2], "worst", off[-1], file=sys.stderr)
assert taken >= 3 and off[len(off) // 2] == 0, (taken, off)
# In a quiet program again everything is exact.
gc.collect()
# What the last one said is objects, too.
census = found = None
census = driver.census(holder_types=0, max_types=10)
expected = gc.get_freeze_count() + len(gc.get_objects())
assert abs(census["visited"] - expected) < 50, (census["visited"], expected)
print("ok")
