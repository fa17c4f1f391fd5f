"""Python with a thread that computes all the time, so that the interpreter is never idle. Ends after `--seconds`."""

import argparse
import threading
import time


def compute(until):
    total = 0
    while time.monotonic() < until:
        for number in range(10_000):
            total += number * number
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    thread = threading.Thread(target=compute, args=(time.monotonic() + options.seconds,), name="busy")
    thread.start()
    thread.join()


if __name__ == "__main__":
    main()
