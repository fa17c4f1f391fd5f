"""Python ends while a probe reads it without a pause. The harness runs this many times."""

import sys
import threading
import time

import driver

mode = sys.argv[3] if len(sys.argv) > 3 else "tracemalloc"
driver.attach(mode=mode, mean=1024, frames=5)
driver.report_closing()
kept = [str(number) for number in range(int(sys.argv[1]))]


def busy():
    while True:
        sum(number for number in range(1000))


for _ in range(2):
    threading.Thread(target=busy, daemon=True).start()
driver.read_for_ever()
time.sleep(float(sys.argv[2]))
print("ok", flush=True)
