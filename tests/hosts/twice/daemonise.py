"""Becomes a daemon by a double fork, works for two seconds, and leaves a file; or by the package python-daemon."""

import os
import sys
import time

kept = []


def forgetful():
    kept.append(bytearray(100_000))


def work():
    end = time.time() + 2
    while time.time() < end:
        forgetful()
        time.sleep(0.05)
    with open("written", "w") as file:
        file.write("by the daemon\n")
    os.rename("written", "done")


where = os.getcwd()
time.sleep(float(sys.argv[2]) if len(sys.argv) > 2 else 0)
if sys.argv[1] == "package":
    import daemon

    with daemon.DaemonContext(working_directory=where):
        work()
else:
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    if sys.argv[1] == "closes":
        os.closerange(0, 1024)
        os.open("/dev/null", os.O_RDWR)
        os.dup2(0, 1)
        os.dup2(0, 2)
    work()
