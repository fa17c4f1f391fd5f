"""A program of several processes, one of which keeps what it makes: tree.py WAY SECONDS [KILOBYTES PER SECOND].

`fork` the second of two children of `os.fork`; `threads` one that is forked beside four busy threads; `daemon` a child of a
child, whose parents end at once; `grandchild` a child of a child whose parents wait; `multiprocessing.START` one of
multiprocessing's two workers; `subprocess` a program that is started; `recycle.WHAT` ten workers, two at a time, that all
do WHAT. The others do as much, and keep nothing.
"""

import multiprocessing
import os
import subprocess
import sys
import threading
import time

kept = []


def forgetful(kilobytes):
    kept.append(bytearray(kilobytes * 100))


def tidy(kilobytes):
    return bytearray(kilobytes * 100)


def work(seconds, kilobytes, what):
    """Ten times a second, by the clock."""
    begun = time.monotonic()
    done = 0
    while (passed := time.monotonic() - begun) < seconds:
        while done < passed * 10:
            what(kilobytes)
            done += 1
        time.sleep(0.02)


def forked(work, *arguments):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work(*arguments)
            status = 0
        finally:
            os._exit(status)
    return child


def waited_for(*children):
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def by_fork(seconds, kilobytes):
    return waited_for(forked(work, seconds, kilobytes, tidy), forked(work, seconds, kilobytes, forgetful))


def by_threads(seconds, kilobytes):
    ends = threading.Event()

    def busy():
        while not ends.is_set():
            sorted(str(number) for number in range(1000))

    threads = [threading.Thread(target=busy) for _ in range(4)]
    for thread in threads:
        thread.start()
    child = forked(work, seconds, kilobytes, forgetful)
    time.sleep(1)
    ends.set()
    for thread in threads:
        thread.join()
    return waited_for(child)


def by_daemon(seconds, kilobytes):
    def daemon():
        os.setsid()
        if os.fork() == 0:
            work(seconds, kilobytes, forgetful)
            with open("daemon.done", "w") as done:
                done.write("done")
            os._exit(0)

    return waited_for(forked(daemon))


def by_grandchild(seconds, kilobytes):
    return waited_for(forked(lambda: waited_for(forked(work, seconds, kilobytes, forgetful))))


def by_multiprocessing(start, seconds, kilobytes):
    context = multiprocessing.get_context(start)
    arguments = [(seconds, kilobytes, tidy), (seconds, kilobytes, forgetful)]
    workers = [context.Process(target=work, args=told) for told in arguments]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return [worker.exitcode for worker in workers]


def by_recycle(what, seconds, kilobytes):
    what = globals()[what]
    pairs = [waited_for(*[forked(work, seconds, kilobytes, what) for _ in range(2)]) for _ in range(5)]
    return [status for pair in pairs for status in pair]


def by_subprocess(seconds, kilobytes):
    return [subprocess.call([sys.executable, __file__, "alone", str(seconds), str(kilobytes)])]


def main():
    way, seconds = sys.argv[1], float(sys.argv[2])
    kilobytes = int(sys.argv[3]) if len(sys.argv) > 3 else 1000
    name, _, start = way.partition(".")
    if name == "alone":
        work(seconds, kilobytes, forgetful)
    elif start:
        print(globals()["by_" + name](start, seconds, kilobytes))
    else:
        print(globals()["by_" + name](seconds, kilobytes))


if __name__ == "__main__":
    main()
