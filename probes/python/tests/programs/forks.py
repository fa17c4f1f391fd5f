"""In a child of a fork the probe is off, tracing that was started here is stopped, and exits are as quick as ever."""

import ctypes
import multiprocessing
import os
import sys
import tracemalloc

import driver


def in_child(check):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            check()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status == 0, status


def is_off():
    assert not tracemalloc.is_tracing()
    answer = driver.gauges()
    assert "is gone" in answer["error"], answer


def works():
    assert driver.gauges()["gauges"]["python.traced_bytes"] > 0
    assert driver.details()["total"][0] > 0


def job(number):
    return number + int(tracemalloc.is_tracing())


driver.attach(frames=3)
kept = [bytearray(100) for _ in range(10_000)]
works()
in_child(is_off)
works()

# A child that ends the interpreter in an orderly way, exit functions included.
driver.report_closing()
child = os.fork()
if child == 0:
    sys.exit(7)
_, status = os.waitpid(child, 0)
assert os.WEXITSTATUS(status) == 7, status

# A fork that Python knows nothing of.
child = ctypes.CDLL(None).fork()
if child == 0:
    os._exit(0 if "is gone" in driver.gauges()["error"] else 1)
_, status = os.waitpid(child, 0)
assert status == 0, status

with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(job, range(10)) == list(range(10))

# A child that asks for it gets a probe of its own.
def attaches_again():
    assert "name" in driver.attach(), driver.attach()
    works()


in_child(attaches_again)
works()
print("ok", flush=True)
