"""Threads allocate in every way while the hook is set, put to rest, opened for windows and read: nothing breaks, no
exception of the host's is another one, no sum of leakline's is wrong.

Arguments: how many rounds of the one who attaches and reads; how many threads.
"""

import asyncio
import bz2
import faulthandler
import hashlib
import sys
import threading
import time
import zlib

import driver

try:
    import numpy
except ImportError:
    numpy = None

ROUNDS = int(sys.argv[1])
THREADS = int(sys.argv[2])
faulthandler.enable()
stop = False
failures = []
worked = [0] * THREADS


def containers(number):
    kept = [{index: [str(index), (index, float(index))]} for index in range(60)]
    kept.extend(bytearray(size) for size in range(0, 3000, 97))
    for array in kept[60:]:
        array.extend(b"x" * 700)
        del array[10:]
    return sum(len(one) for one in kept) + len({str(index) * number for index in range(50)})


def texts(number):
    text = ""
    for index in range(200):
        text += chr(97 + index % 26) * (index % 9)
    return len(text.encode("utf-16").decode("utf-16").replace("a", "bcd").split("z"))


def recursion(number):
    def deeper(depth):
        return [depth, deeper(depth + 1)]

    try:
        deeper(0)
    except RecursionError:
        return 1
    raise AssertionError("no end to the recursion")


def generators(number):
    def numbers(depth):
        yield from (numbers(depth - 1) if depth else range(30))
        yield [depth]

    waiting = numbers(6)
    next(waiting)
    return len(list(numbers(10)))


def coroutines(number):
    async def child(depth):
        if depth:
            return await child(depth - 1)
        await asyncio.sleep(0)
        return bytearray(300)

    async def parent():
        return await asyncio.gather(*(child(depth) for depth in range(10)))

    loop = asyncio.new_event_loop()
    try:
        return len(loop.run_until_complete(parent()))
    finally:
        loop.close()


def exceptions(number):
    class Ours(Exception):
        pass

    caught = 0
    for index in range(40):
        try:
            try:
                raise Ours(index, [index])
            finally:
                {}["none" * 10]
        except KeyError as error:
            assert isinstance(error.__context__, Ours) and error.__context__.args == (index, [index])
            caught += 1
    try:
        bytearray(sys.maxsize)
    except MemoryError:
        caught += 1
    assert caught == 41, caught
    return caught


def without_the_gil(number):
    data = bytes(range(256)) * 200
    assert zlib.decompress(zlib.compress(data, 1)) == data
    return len(bz2.compress(data[:4000], 1)) + len(hashlib.sha256(data * 2).digest())


def code(number):
    names = {}
    exec(compile("def made(x):\n    y = [x] * 30\n    return y\nz = made(3)\n", "/made%d.py" % (worked[number] % 20), "exec"), names)
    numpy is None or numpy.ones((50, 50)).dot(numpy.ones((50, 50))).tolist()
    return len(names["z"])


KINDS = (containers, texts, recursion, generators, coroutines, exceptions, without_the_gil, code)


def work(number):
    try:
        while not stop:
            KINDS[(number + worked[number]) % len(KINDS)](number)
            worked[number] += 1
    except BaseException as error:
        failures.append(repr(error))
        raise


def one_more(*_):
    """Threads that are born and die at once."""
    bytearray(5000)


threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(THREADS)]
for thread in threads:
    thread.start()
begun = time.time()
read = windows = 0
driver.attach(mode="sampling", mean=1024, frames=8)
for round in range(ROUNDS):
    kind = round % 10
    if kind == 0:
        driver.detach()
        modes = ({"mode": "sampling", "mean": (1024, 4096, 65536)[round // 10 % 3]}, {"mode": "exact"})
        attached = driver.attach(anew=True, frames=(1, 8, 40)[round // 10 % 3], **modes[round // 10 % 5 == 4])
        assert "name" in attached, attached
    elif kind == 2:
        opened = driver.open_window((3, 20, 1000)[round % 3], 1 + round % 30)
        windows += not opened.get("refused")
    elif kind == 6 and round % 20 == 6:
        driver.close_window()
    elif kind == 4:
        driver.gauges()
        newborn = threading.Thread(target=one_more)
        newborn.start()
        newborn.join()
    else:
        driver.right(driver.details(sites=round % 7 == 0))
        read += 1
    assert not failures, failures
stop = True
for thread in threads:
    thread.join()
assert not failures, failures
details = driver.right(driver.details())
print("%d read, %d windows, %d pieces of work, %.1f s" % (read, windows, sum(worked), time.time() - begun), file=sys.stderr)
driver.detach()
assert all(worked), worked
print("ok")
