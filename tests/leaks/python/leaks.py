"""Python programs that leak, one for each way; the argument says which. A marker stands on the line that is to blame."""

import asyncio
import gc
import logging
import sys
import threading

import pace

SIZE = 2000
#: A bytes object's own size with its slot in a container.
ITEM = SIZE + 33 + 8

READINGS = []


def list_without_end():
    held = []

    def step(_):
        held.append(bytes(SIZE))  # leak: list

    pace.run(step, ITEM)


def dict_without_end():
    sessions = {}

    def step(number):
        sessions[number] = bytes(SIZE)  # leak: dict

    pace.run(step, ITEM + 120)


def cache_without_bound():
    import functools

    @functools.lru_cache(maxsize=None)
    def render(number):
        return b"%d" % number + bytes(SIZE)  # leak: cache

    pace.run(render, ITEM + 150)


def closure():
    handlers = []

    def make():
        payload = bytearray(SIZE)  # leak: closure

        def handler():
            return payload

        return handler

    pace.run(lambda _: handlers.append(make()), ITEM + 24 + 150 + 64)


class Node:
    def __init__(self):
        self.payload = bytes(SIZE)  # leak: cycle
        self.me = self


def cycle_with_gc_off():
    gc.disable()
    pace.run(lambda _: Node(), ITEM + 48 + 104)


class Remembering(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(self.format(record))  # leak: logging


def logging_handler():
    log = logging.getLogger("service")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(Remembering())
    text = "x" * (SIZE * 2)
    pace.run(lambda number: log.info("%d %s", number, text), SIZE * 2 + 49 + 8 + 6)


def thread_local():
    local = threading.local()
    done = threading.Event()

    def work():
        local.kept = []

        def step(_):
            local.kept.append(bytes(SIZE))  # leak: thread-local

        pace.run(step, ITEM)
        done.set()
        threading.Event().wait()

    # What is local to a thread lives as long as the thread.
    threading.Thread(target=work, daemon=True).start()
    done.wait()


def on_reading(payload):
    READINGS.append(payload.decode() * 2)  # leak: module-global


def module_global():
    payload = b"y" * SIZE
    pace.run(lambda _: on_reading(payload), SIZE * 2 + 49 + 8)


def asyncio_tasks():
    loop = asyncio.new_event_loop()
    waiting = []
    never = loop.create_future()

    async def serve():
        buffer = bytearray(SIZE * 4)  # leak: asyncio
        await never
        return buffer

    def step(_):
        waiting.append(loop.create_task(serve()))

    pace.run(step, SIZE * 4 + 57 + 1100, between=lambda _: loop.run_until_complete(asyncio.sleep(0)))


def rows():
    page = bytearray(SIZE * 2)  # leak: generator
    while True:
        yield page


def generator_frames():
    begun = []

    def step(_):
        cursor = rows()
        next(cursor)
        begun.append(cursor)

    pace.run(step, SIZE * 2 + 57 + 240)


def extension():
    import forgetful

    # It makes a bytes object, gives one away and forgets the other reference.
    pace.run(lambda _: forgetful.parse(SIZE), ITEM - 8)  # leak: extension


def ctypes_buffer():
    import ctypes

    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

    def step(_):
        libc.memset(libc.malloc(4096), 1, 4096)  # leak: ctypes

    pace.run(step, 4096 + 16)


def exceptions_kept():
    errors = []

    def parse():
        buffer = bytearray(SIZE * 2)  # leak: exception
        raise ValueError(len(buffer))

    def step(_):
        try:
            parse()
        except ValueError as error:
            errors.append(error)

    pace.run(step, SIZE * 2 + 57 + 900)


def one_helper_two_callers():
    kept = []

    def buffer():
        return bytearray(SIZE)

    def leaks(_):
        kept.append(buffer())  # leak: caller

    def does_not():
        for _ in range(50):
            buffer()

    pace.run(leaks, SIZE + 57 + 8, between=lambda _: does_not())


def in_steps():
    batches = []

    def load_batch(_):
        batches.append([bytes(SIZE) for _ in range(100)])  # leak: steps

    def due(passed):
        # All at once, every two seconds, from the first on: what is kept in the end is what the rate asks for.
        return (passed + 1) // 2 * 2 * pace.RATE

    pace.run(load_batch, ITEM * 100, due=due)


def accelerating():
    retries = []

    def step(_):
        retries.append(bytes(SIZE))  # leak: accelerating

    # Twice as fast in the end as on average, from nothing.
    pace.run(step, ITEM, due=lambda passed: pace.RATE * passed * passed / pace.SECONDS)


def after_warm_up():
    cache = [bytes(SIZE) for _ in range(5000)]
    held = []

    def step(number):
        held.append(bytes(SIZE))  # leak: after-warm-up
        return cache[number % len(cache)]

    pace.run(step, ITEM)


PROGRAMS = {
    "list": list_without_end,
    "dict": dict_without_end,
    "cache": cache_without_bound,
    "closure": closure,
    "cycle": cycle_with_gc_off,
    "logging": logging_handler,
    "thread-local": thread_local,
    "module-global": module_global,
    "asyncio": asyncio_tasks,
    "generator": generator_frames,
    "extension": extension,
    "ctypes": ctypes_buffer,
    "exception": exceptions_kept,
    "caller": one_helper_two_callers,
    "steps": in_steps,
    "accelerating": accelerating,
    "after-warm-up": after_warm_up,
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]]()
