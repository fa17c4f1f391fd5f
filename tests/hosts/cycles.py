"""Python with a JVM in it (through JPype), where Java holds Python listeners that hold Java lists: `--shape` says whether the
lists hold the listeners (closed), or other lists do (open), or whether one half is larger than what is looked at
(java-large, python-large). `--how` is how a listener becomes an object of Java's. Asks leakline to look for cycles, and
ends with the JVM still there."""

import argparse
import ctypes
import os
import random
import time

import jpype


class Listener:
    def run(self):
        return None


def implementing():
    @jpype.JImplements("java.lang.Runnable")
    class Implementing:
        @jpype.JOverride
        def run(self):
            return None

    return Implementing


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=["closed", "open", "java-large", "python-large"], default="closed")
    parser.add_argument("--how", choices=["proxy", "implements"], default="proxy")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--end", choices=["jvm", "at-once"], default="at-once", help="the JVM in the middle of a search, or not")
    parser.add_argument("--java", nargs="*", default=[], help="further options of the JVM, without their -")
    options = parser.parse_args()
    jpype.startJVM("-Xmx64m", "-XX:+UseSerialGC", *["-" + option for option in options.java])
    java_list = jpype.JClass("java.util.ArrayList")
    builder = jpype.JClass("java.lang.StringBuilder")
    kind = implementing() if options.how == "implements" else None
    others = java_list()
    for _ in range(options.count):
        listener = kind() if kind else Listener()
        target = java_list()
        if options.shape == "python-large":
            listener.targets = [[] for _ in range(6000)] + [[target]]
        else:
            listener.target = target
        if options.shape == "java-large":
            for _ in range(6000):
                target.add(builder())
        proxy = listener if kind else jpype.JProxy("java.lang.Runnable", inst=listener)
        (others if options.shape == "open" else target).add(proxy)
    del listener, target, proxy
    print("holds", options.count, flush=True)
    time.sleep(1.5)
    agent = ctypes.CDLL(None)
    for _ in range(options.times):
        print("asked", agent.leakline_look_for_cycles(), flush=True)
        # The probe may not have found the bridge yet at the first time.
        time.sleep(1)
    if options.end == "jvm":
        agent.leakline_look_for_cycles()
        time.sleep(0.02 * random.random())
        jpype.shutdownJVM()
        agent.leakline_look_for_cycles()
        time.sleep(0.3)
    print("ends", flush=True)
    os._exit(0)


main()
