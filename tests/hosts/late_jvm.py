"""Python that starts a JVM (through JPype) some seconds after it began. Needs the project's virtual environment."""

import argparse
import time

import jpype
from busy import compute


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--after", type=float, default=1, help="seconds before the JVM starts")
    parser.add_argument("--seconds", type=float, default=3, help="seconds after it started")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--busy", action="store_true", help="with Python computing all the time")
    how.add_argument("--idle", action="store_true", help="does nothing at all once the JVM is there")
    options = parser.parse_args()
    time.sleep(options.after)
    jpype.startJVM("-Xmx64m")
    end = time.monotonic() + options.seconds
    held = jpype.JClass("java.util.ArrayList")()
    if options.idle:
        time.sleep(options.seconds)
    elif options.busy:
        compute(end)
    while time.monotonic() < end:
        held.add(jpype.JClass("java.lang.StringBuilder")("text"))
        time.sleep(0.05)
    print(f"late_jvm.py: {held.size()} objects")


main()
