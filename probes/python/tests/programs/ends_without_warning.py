"""The host drops all exit functions, ours among them: nothing may crash, and nothing may hang."""

import atexit
import sys
import time

import driver

driver.attach(frames=5)
kept = [str(number) for number in range(20_000)]
driver.read_for_ever()
time.sleep(float(sys.argv[1]))
atexit._clear()
print("ok", flush=True)
