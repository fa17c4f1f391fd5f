"""Children are forked in storms while threads allocate under the hook: each ends as it should, in the parent everything
goes on, and nothing in its tables is wrong.

Arguments: the mode, how many forks.
"""

import gc
import json
import multiprocessing
import os
import sys
import threading

import driver

mode, forks = sys.argv[1], int(sys.argv[2])
stop = False


def allocate(rounds):
    kept = []
    for round in range(rounds):
        kept.append({str(index): bytearray(index * 7) for index in range(50)})
        del kept[:-5]
    return json.loads(json.dumps([list(one) for one in kept]))


def busy():
    while not stop:
        allocate(5)


def job(number):
    return len(allocate(20)) + number


driver.attach(mode=mode, mean=1024, frames=6)
before = [bytearray(700) for _ in range(3000)]
threads = [threading.Thread(target=busy, daemon=True) for _ in range(3)]
for thread in threads:
    thread.start()
for number in range(forks):
    child = os.fork()
    if child == 0:
        # What the parent sampled is freed, and more is allocated; neither is anybody's business.
        before.clear()
        allocate(20)
        gc.collect()
        if number % 5 == 0:
            assert "is gone" in driver.details()["error"]
        if number % 7 == 0:
            grandchild = os.fork()
            if grandchild == 0:
                allocate(5)
                os._exit(3)
            assert os.WEXITSTATUS(os.waitpid(grandchild, 0)[1]) == 3
        if number % 11 == 0:
            attached = driver.attach(anew=True, mode=mode, mean=1024, frames=3)
            assert "name" in attached, attached
            later = [bytearray(900) for _ in range(500)]
            assert driver.right(driver.details())["total"][0] > 200_000
        if number % 3 == 0:
            stop = True
            sys.exit(9)
        os._exit(9)
    if number % 4 == 0:
        driver.right(driver.details(sites=False))
    _, status = os.waitpid(child, 0)
    assert os.WIFEXITED(status) and os.WEXITSTATUS(status) == 9, (number, status)
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(job, range(20)) == [5 + number for number in range(20)]
stop = True
for thread in threads:
    thread.join()
details = driver.right(driver.details())
assert details["total"][0] > 1_500_000, details["total"]
driver.detach()
print("ok")
