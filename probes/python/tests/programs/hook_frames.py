"""Threads that do what moves frames about, under the hook: exceptions, frame objects, generators, coroutines, deep
recursion, code that comes and goes, monitoring and tracing. Once each for as many rounds as are asked for."""

import asyncio
import gc
import sys
import threading
import traceback

import driver

mode, rounds = sys.argv[1], int(sys.argv[2])
driver.attach(mode=mode, mean=1024, frames=32)
done = []


def generate(count):
    for number in range(count):
        got = yield [number] * 40
        if got:
            bytes(got)


def generators():
    for _ in generate(50):
        pass
    generator = generate(50)
    next(generator)
    generator.send(bytearray(300))
    generator.close()
    generator = generate(5)
    next(generator)
    try:
        generator.throw(ValueError(bytes(2000)))
    except ValueError:
        pass


def fail(left):
    held = bytes(700)
    if left == 0:
        raise KeyError(held)
    try:
        return fail(left - 1)
    finally:
        bytearray(900)


def exceptions():
    try:
        fail(40)
    except KeyError as error:
        traceback.format_exc()
        error.__traceback__ = None


class Node:
    def __init__(self):
        self.me = self
        self.others = {number: [number] for number in range(30)}

    def __del__(self):
        [bytes(600) for _ in range(3)]


def cycles():
    for _ in range(50):
        Node()
    gc.collect(0)


async def inner(left):
    if left:
        await asyncio.sleep(0)
        return await inner(left - 1)
    return bytes(1500)


async def outer():
    await asyncio.gather(*[inner(8) for _ in range(20)])


def coroutines():
    asyncio.run(outer())


def code():
    names = {}
    exec(compile("def made(n):\n  return [bytes(500) for _ in range(n)]\nmade(20)", "<made>", "exec"), names)


def recurse(left):
    held = bytes(800)
    return recurse(left - 1) + len(held) if left else 0


def recursion():
    recurse(400)
    try:
        recurse(100_000)
    except RecursionError:
        pass
    sorted(range(100), key=lambda value: (bytes(600), -value)[1])


def deep(left):
    frame = sys._getframe()
    if left:
        return deep(left - 1)
    found = []
    while frame:
        found.append((frame.f_locals.copy(), frame.f_lineno))
        frame = frame.f_back
    return found


def frames():
    deep(30)
    for frame in sys._current_frames().values():
        traceback.extract_stack(frame)


def tracing():
    sys.settrace(lambda *_: (bytes(700), None)[1])
    recurse(30)
    sys.settrace(None)


def monitoring():
    if sys.version_info < (3, 12):
        return
    monitoring, tool = sys.monitoring, 3
    monitoring.use_tool_id(tool, "test")
    monitoring.register_callback(tool, monitoring.events.LINE, lambda *_: bytes(600) and None)
    monitoring.register_callback(tool, monitoring.events.PY_START, lambda *_: bytearray(600) and None)
    monitoring.set_events(tool, monitoring.events.LINE | monitoring.events.PY_START)
    recurse(50)
    monitoring.set_events(tool, 0)
    monitoring.free_tool_id(tool)


def many(what):
    for _ in range(rounds):
        what()
    done.append(what)


ALL = (generators, exceptions, cycles, coroutines, code, recursion, frames, tracing, monitoring)
threads = [threading.Thread(target=many, args=(what,)) for what in ALL]
for thread in threads:
    thread.start()
while any(thread.is_alive() for thread in threads):
    driver.right(driver.details(False))
    threads[0].join(0.05)
for thread in threads:
    thread.join()
assert len(done) == len(ALL), done
driver.right(driver.details(False))
print("ok")
