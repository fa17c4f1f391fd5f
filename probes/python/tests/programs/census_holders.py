"""Who holds what a type grew by, in every place where Python programs keep things."""

import collections
import functools
import sys

import driver

driver.attach(mode="gauges")


def new_type(name):
    return type(name, (), {"__module__": "leak", "__init__": lambda self: setattr(self, "self_made", [1])})


# 1. Where it is kept. 2. How it is put there. 3. What a census says, a part of it.
GLOBAL_LIST = []


class Owner:
    by_id = {}
    __slots__ = ("kept",)


class Singleton:
    def __init__(self):
        self.first = None
        self.items = set()
        self.recent = collections.deque()


class Typed(list):
    pass


singleton = Singleton()
owner = Owner()
owner.kept = []
nested = collections.defaultdict(list)
plain_nested = {}
typed = Typed()
only_one = {}


def closure():
    hidden = []

    def put(one):
        hidden.append(one)

    return put


def default(one, cache=[], *, other={}):
    cache.append(one)


def keyword_default(one, *, table={}):
    table[id(one)] = one


def attributed(one):
    attributed.seen.append(one)


attributed.seen = []
current = None


@functools.lru_cache(maxsize=None)
def unbounded(number):
    return current


@functools.lru_cache(maxsize=10_000)
def bounded(number):
    return current


class Holding:
    def __init__(self, payload):
        self.payload = payload


class HoldingSlot:
    __slots__ = ("number", "payload")

    def __init__(self, payload):
        self.payload = payload


def through(cache):
    def put(one):
        global current
        current = one
        cache(id(one))
        current = None

    return put


def into_nested(one):
    nested[id(one) % 97].append(one)


def into_plain(one):
    plain_nested.setdefault(id(one) % 97, {})[id(one)] = (one,)


def suspended():
    local = []
    while True:
        local.append((yield))


generator = suspended()
next(generator)
in_frame = []
others = []
CASES = {
    "global list": (GLOBAL_LIST.append, "list __main__.GLOBAL_LIST"),
    "dict in a class": (lambda one: Owner.by_id.setdefault(id(one), one), "dict __main__.Owner.by_id"),
    "slot": (lambda one: owner.kept.append(one), "list attribute .kept of __main__.Owner"),
    "set of a singleton": (lambda one: singleton.items.add(one), "set attribute .items of __main__.Singleton"),
    "deque": (lambda one: singleton.recent.append(one), "deque attribute .recent of __main__.Singleton"),
    "closure": (closure(), "list closure variable hidden of __main__.closure.<locals>.put"),
    "default": (default, "list default argument cache of __main__.default"),
    "keyword default": (keyword_default, "dict default argument table of __main__.keyword_default"),
    "function attribute": (attributed, "list attribute .seen of __main__.attributed"),
    "lru_cache": (through(bounded), "lru_cache of __main__.bounded"),
    "unbounded lru_cache": (through(unbounded), "dict lru_cache of __main__.unbounded"),
    "nested": (into_nested, "list in defaultdict __main__.nested"),
    "deep": (into_plain, "tuple in dict in dict __main__.plain_nested"),
    "subclass of list": (typed.append, "__main__.Typed __main__.typed"),
    "attribute": (lambda one: others.append(Holding(one)), "attribute .payload of __main__.Holding"),
    "attribute in a slot": (lambda one: others.append(HoldingSlot(one)), "attribute .payload of __main__.HoldingSlot"),
    "generator": (generator.send, "list suspended generator suspended"),
}


def check(name, put, expected, count):
    kind = new_type("Leaked")
    driver.census()
    before = [kind() for _ in range(20)]
    for one in before:
        put(one)
    census = driver.census(holder_types=8)
    for _ in range(count):
        put(kind())
    census = driver.census(holder_types=8)
    assert census["outcome"] == "Taken" and not census["holders_cut"], census
    grown = [one["grown"] for one in census["types"] if one["name"] == "leak.Leaked"]
    assert grown[0][0] == count, (name, grown)
    holders = {one["text"]: one["count"] for one in census["holders"] if one["type_name"] == "leak.Leaked"}
    best = max(holders, key=holders.get)
    assert best == expected, (name, "expected", expected, "found", holders)
    assert abs(holders[best] - count) <= 0.1 * count, (name, holders)
    if sys.argv[1:]:
        print(name, holders, census["cost"])


for name, (put, expected) in CASES.items():
    check(name, put, expected, 412)
check("many", GLOBAL_LIST.append, "list __main__.GLOBAL_LIST", 20_000)
check("many in a dict", *CASES["dict in a class"], 20_000)

# Held by a running function only: it says so.
kind = new_type("Running")
driver.census()


def run():
    local = [kind() for _ in range(100)]
    census = driver.census(holder_types=8)
    texts = [one["text"] for one in census["holders"] if one["type_name"] == "leak.Running"]
    assert texts[0] in ("list, held by a running function or native code",), texts
    return local


run()
print("ok")
