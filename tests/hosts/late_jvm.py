"""Python that starts a JVM (through JPype) some seconds after it began. Needs the project's virtual environment."""

import argparse
import time

import jpype


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--after", type=float, default=1, help="seconds before the JVM starts")
    parser.add_argument("--seconds", type=float, default=3, help="seconds after it started")
    parser.add_argument("--busy", action="store_true", help="with a thread that computes all the time")
    options = parser.parse_args()
    time.sleep(options.after)
    jpype.startJVM("-Xmx64m")
    held = jpype.JClass("java.util.ArrayList")()
    end = time.monotonic() + options.seconds
    while time.monotonic() < end:
        held.add(jpype.JClass("java.lang.StringBuilder")("text"))
        if not options.busy:
            time.sleep(0.05)
    print(f"late_jvm.py: {held.size()} objects")


main()
