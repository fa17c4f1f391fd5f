"""In a program at rest a census counts what gc.get_objects() lists, type by type, and as many bytes as sys.getsizeof says."""

import collections
import gc
import sys

import driver


class Plain:
    def __init__(self, value):
        self.value = [value]


class Slotted:
    __slots__ = ("one", "two")


class Outer:
    class Inner(dict):
        pass


class Hostile(type):
    """Would raise if anybody asked it, or an instance, for anything."""

    def __getattribute__(cls, name):
        raise RuntimeError(name)


class Asked(metaclass=Hostile):
    @property
    def __class__(self):
        raise RuntimeError("__class__")

    def __getattribute__(self, name):
        raise RuntimeError(name)

    def __sizeof__(self):
        raise RuntimeError("__sizeof__")

    def __repr__(self):
        raise RuntimeError("__repr__")

    __hash__ = __eq__ = None


def name_of(kind):
    module = type.__dict__["__module__"].__get__(kind)
    name = type.__dict__["__qualname__"].__get__(kind)
    return name if module == "builtins" else "%s.%s" % (module, name)


def listed():
    objects = gc.get_objects()
    counts = collections.Counter()
    sizes = collections.Counter()
    for one in objects:
        kind = type(one)
        if kind is type(driver._census) and one is objects:
            continue
        counts[name_of(kind)] += 1
        if kind is not Asked:
            sizes[name_of(kind)] += sys.getsizeof(one)
    # CPython 3.12 sets some tuples of its own aside when it starts.
    counts["tuple"] += gc.get_freeze_count()
    return counts, sizes


kept = [
    [Plain(1) for _ in range(1000)],
    [Slotted() for _ in range(100)],
    [Outer.Inner(a=[]) for _ in range(70)],
    [Asked() for _ in range(50)],
    [{number: [] for number in range(size)} for size in range(0, 200, 10)],
    [collections.deque([[]] * size) for size in range(0, 400, 13)],
    [set(range(size)) for size in range(0, 400, 13)],
    [frozenset(range(size)) for size in range(0, 400, 13)],
    [([],) * size for size in range(40)],
    [type("Made", (), {"__module__": 7}) for _ in range(5)],
]
kept.append([made() for made in kept[-1]])
driver.attach(mode="gauges")
driver.census()
gc.collect()
gc.disable()
listed()
counts, sizes = listed()
census = driver.census(max_types=10**6)
assert census["outcome"] == "Taken", census["outcome"]
found = {one["name"]: one for one in census["types"]}
wrong = {}
for name in counts.keys() | found.keys():
    one = found.get(name, {"count": 0, "bytes": 0})
    # A few objects are made by looking itself.
    if abs(one["count"] - counts[name]) > 5:
        wrong[name] = (one["count"], counts[name])
assert not wrong, wrong
assert abs(census["visited"] - sum(counts.values())) < 10, (census["visited"], sum(counts.values()))
assert census["visited"] == sum(one["count"] for one in census["types"])
for name in ["list", "dict", "set", "frozenset", "tuple", "collections.deque", "function", "__main__.Slotted", "__main__.Outer.Inner"]:
    assert abs(found[name]["bytes"] - sizes[name]) <= max(3000, sizes[name] * 0.01 + 100 * gc.get_freeze_count()), (name, found[name], sizes[name])
assert found["__main__.Asked"]["count"] == 50 and found["__main__.Outer.Inner"]["count"] == 70
print(census["visited"], census["cost"], file=sys.stderr)

# What is frozen is counted, too, and nothing is left behind.
before = gc.get_freeze_count() + len(gc.get_objects())
gc.freeze()
frozen = driver.census(max_types=1)
assert abs(frozen["visited"] - before) < 20, (frozen["visited"], before)
assert abs(gc.get_freeze_count() + len(gc.get_objects()) - before) < 20, (gc.get_freeze_count(), before)
gc.unfreeze()  # also what was set aside before
assert abs(len(gc.get_objects()) - before) < 20
gc.collect()
before = gc.get_freeze_count() + len(gc.get_objects())
again = driver.census(max_types=1)
assert abs(again["visited"] - before) < 20, (again["visited"], before)

# Each bound holds, and a census that ended early leaves nothing behind.
assert driver.census(max_objects=100)["outcome"] == "TooMany"
assert driver.census(max_total_micros=1)["outcome"] == "TooMany"
more = [Plain(2) for _ in range(500)]
cut = driver.census(max_edges=10, max_types=1)
assert cut["outcome"] == "Taken" and cut["holders_cut"] and cut["edges"] < 300_000, cut
assert len(cut["types"]) <= 1 + 5, len(cut["types"])
cut = None
again = driver.census(max_types=1)
expected = gc.get_freeze_count() + len(gc.get_objects())
assert abs(again["visited"] - expected) < 50, (again["visited"], expected)
print("ok")
