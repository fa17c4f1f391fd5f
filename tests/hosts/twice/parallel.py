"""multiprocessing by each start method, concurrent.futures, and asyncio's subprocesses."""

import asyncio
import concurrent.futures
import multiprocessing
import sys
import time


def square(number):
    kept = [bytearray(1000) for _ in range(100)]
    return number * number + len(kept) - 100


async def several():
    started = [await asyncio.create_subprocess_exec("sh", "-c", f"exit {number}") for number in range(10)]
    return [await one.wait() for one in started]


if __name__ == "__main__":
    way = sys.argv[1]
    time.sleep(0.3)
    if way == "asyncio":
        print(asyncio.run(several()))
    elif way == "futures":
        with concurrent.futures.ProcessPoolExecutor(2) as pool:
            print(sum(pool.map(square, range(50))))
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            print(sum(pool.map(square, range(50))))
    else:
        context = multiprocessing.get_context(way)
        with context.Pool(2) as pool:
            print(pool.map(square, range(20)))
        queue = context.Queue()
        worker = context.Process(target=queue.put, args=("from a worker",))
        worker.start()
        print(queue.get())
        worker.join()
        print(worker.exitcode)
