"""Says how many blocks CPython has handed out after much was allocated and freed: exceptions, frames that become objects,
generators, code, cycles and threads. Whoever watched must not have made them more."""

import gc
import sys
import threading
import traceback

import driver

mode = sys.argv[1]
driver.attach(mode=mode, mean=1024, frames=20)


def parse(number):
    raise ValueError(number)


def handle(number):
    try:
        parse(number)
    except ValueError as error:
        return str(error)


def deep(left):
    frame = sys._getframe()
    if left:
        return deep(left - 1)
    found = []
    while frame:
        found.append((frame.f_locals.copy(), frame.f_lineno))
        frame = frame.f_back
    return len(found)


def generate(count):
    for number in range(count):
        yield [number] * 40


class Node:
    def __init__(self):
        self.me = self
        self.others = {number: [number] for number in range(20)}


def work():
    for round in range(5):
        for number in range(4000):
            handle(number)
        for _ in range(60):
            deep(30)
            list(generate(30))
            generator = generate(9)
            next(generator)
            generator.close()
            try:
                deep("no number")
            except TypeError:
                traceback.format_exc()
        for number in range(60):
            names = {}
            exec(compile("def made():\n  return [bytes(500)]\nmade()", "<made %d>" % number, "exec"), names)
        for _ in range(200):
            Node()


def all_of_it():
    work()
    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# So that what leakline has for itself (its callbacks, the names in its self-test) is a small share.
kept = [bytearray(9) for _ in range(400_000)]
all_of_it()
if mode != "off":
    driver.right(driver.details())
    assert driver.census()["outcome"] == "Taken"
gc.collect()
before = sys.getallocatedblocks()
all_of_it()
gc.collect()
after = sys.getallocatedblocks()
assert abs(after - before) < 100, (before, after)
print(after)
