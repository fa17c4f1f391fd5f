"""The call path as leakline reads it out of the interpreter, and through its fallback, against `sys._getframe`.
With a second argument, the time of a walk instead."""

import ctypes, functools, os, sys, threading

part = ctypes.PyDLL(os.environ["LEAKLINE_PYTHON_LIBRARY"])
tell = part.leakline_cpython_frames
tell.restype = ctypes.py_object
tell.argtypes = [ctypes.c_bool, ctypes.c_size_t, ctypes.c_uint32]
# From 3.12 on frames are never asked for inside the hook.
WAYS = (False, True) if sys.version_info < (3, 12) else (False,)
checked = 0


def said(frame, depth):
    lines = []
    while frame and len(lines) < depth:
        code = frame.f_code
        name = getattr(code, "co_qualname", code.co_name)
        file = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in code.co_filename)
        lines.append((name, file, str(frame.f_lineno or 0)))
        frame = frame.f_back
    return lines, frame is not None


def probe(*_):
    global checked
    for by_api in WAYS:
        for depth in (0, 1, 7, 64, 2000):
            # On one line: it is part of the path.
            told = tell(by_api, depth, 0); lines, more = said(sys._getframe(), depth)
            assert not told.startswith("!"), told
            told = told.split("\n")[:-1]
            assert (told[-1:] == ["..."]) == more, (told[-3:], more)
            found = [tuple(line.split("\t")) for line in told if line != "..."]
            assert found == lines, (by_api, found, lines)
            checked += 1
    return 0


def generator():
    yield probe()
    yield from (probe() for _ in range(2))


class Awaited:
    def __await__(self):
        yield probe()


async def inner():
    return [probe() async for _ in asynchronous()]


async def asynchronous():
    await Awaited()
    yield 1


async def coroutine():
    async with Context():
        await inner()


class Context:
    async def __aenter__(self):
        probe()

    async def __aexit__(self, *_):
        probe()

    def __del__(self):
        probe()


def drive(coroutine):
    try:
        while True:
            coroutine.send(None)
    except StopIteration:
        pass


def deep(left):
    return deep(left - 1) if left else probe()


def to_the_limit():
    try:
        return 1 + to_the_limit()
    except RecursionError:
        return 0


class Meta(type):
    def __new__(cls, *arguments):
        probe()
        return super().__new__(cls, *arguments)


def everything():
    list(generator())
    drive(coroutine())
    sorted([2, 1], key=probe)
    functools.reduce(probe, [1, 2, 3])
    class Made(metaclass=Meta):
        found = [probe() for _ in range(1)]
        also = (lambda: probe())()
    try:
        raise ValueError
    except ValueError:
        probe()
    finally:
        probe()
    deep(300)
    exec(compile("def f(p):\n\n\n  p()\nf(p)", "<\u0131n \U0001f40d>", "exec"), {"p": probe})
    exec(compile("p()", "<lone \udc80>", "exec"), {"p": probe})
    to_the_limit()


def traced():
    sys.settrace(lambda *_: traced_line)
    everything()
    sys.settrace(None)


def traced_line(*_):
    return traced_line


def loop_is_found():
    """The self-test has found the machine code that runs all this: a large function in the program or libpython."""
    loops = part.leakline_cpython_loops
    loops.restype = ctypes.py_object
    parts = [[int(word, 16) for word in line.split()] for line in loops().split("\n") if line]
    with open("/proc/self/maps") as maps:
        mapped = [line.split() for line in maps if " r-xp " in line]
    homes = set()
    for start, end in parts:
        for area, *_, name in mapped:
            first, last = (int(word, 16) for word in area.split("-"))
            if first <= start < end <= last:
                homes.add(os.path.basename(name))
    if sys.version_info < (3, 11):
        assert not parts, parts
    else:
        assert 1 <= len(parts) <= 3 and sum(end - start for start, end in parts) > 8_000, parts
        assert homes and all("python" in home for home in homes), homes


def timed():
    def nest(left):
        return nest(left - 1) if left else min(float(tell(False, 64, 1_000_000)) for _ in range(7))
    for depth in (4, 10, 32):
        print(sys.version.split()[0], depth, "frames", nest(depth - 4), "ns")


if "time" in sys.argv[1:]:
    timed()
else:
    everything()
    traced()
    loop_is_found()
    if len(WAYS) == 1:
        assert tell(True, 9, 0) == "!from 3.12 on frames cannot be asked for while memory is allocated"
    # A thread's path begins in the thread.
    threads = [threading.Thread(target=everything) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert checked > 250 * len(WAYS), checked
    print("ok")
