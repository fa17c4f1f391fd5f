"""Ends while probes of its own are read without a pause, after so many seconds. With `stuck`, one of them never comes back."""

import sys
import threading
import time

import leakline


@leakline.probe
def allocates(gauges):
    gauges.count("numbers", len([str(number) for number in range(2000)]))


@leakline.probe
def sleeps(gauges):
    time.sleep(0.001)
    gauges.count("sleeps", 1)


begun = threading.Event()


@leakline.probe
def last(gauges):
    begun.set()
    if "stuck" in sys.argv:
        time.sleep(600)


def ask():
    while True:
        leakline.snapshot_now()


for _ in range(2):
    threading.Thread(target=ask, daemon=True).start()
if not begun.wait(60):
    raise SystemExit("no probe was ever read")
time.sleep(float(sys.argv[1]))
print("ok", flush=True)
