"""Python with a JVM in it (through JPype), where Java keeps Python objects: `--steps`, each so many more of them, or 0 to
let go of all. After each step it says how many there are, and stays for `--stay` seconds.

`--end` says how it ends: jvm (the JVM first, then Python some ticks later), python (in order) or at-once."""

import argparse
import ctypes
import os
import pathlib
import time

import jpype


class Listener:
    def __init__(self, size):
        self.buffer = bytes(size) if size else None

    def run(self):
        return None


def let_go(held, queue, before):
    """Until JPype has heard of each that was collected."""
    held.clear()
    patience = time.monotonic() + 20
    while queue.getQueueSize() > before and time.monotonic() < patience:
        jpype.JClass("java.lang.System").gc()
        time.sleep(0.02)


def stay(options):
    pieces = max(1, int(options.stay / 0.5)) if options.collect else 1
    for _ in range(pieces):
        time.sleep(options.stay / pieces)
        if options.collect:
            jpype.JClass("java.lang.System").gc()


def loader():
    """A class loader without a parent, with one of JPype's own classes."""
    jar = pathlib.Path(jpype.__file__).parent.parent / "org.jpype.jar"
    url = jpype.JClass("java.io.File")(str(jar)).toURI().toURL()
    made = jpype.JClass("java.net.URLClassLoader")([url], None)
    made.loadClass("org.jpype.JPypeKeywords")
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, nargs="*", default=[])
    parser.add_argument("--hold", type=int, default=0, help="bytes that each of these objects has")
    parser.add_argument("--keep", type=int, default=0, help="Java objects that Python keeps, more at each step")
    parser.add_argument("--census", action="store_true", help="ask leakline for a census after the last step")
    parser.add_argument("--loaders", type=int, default=0, help="class loaders that each have a class of their own")
    parser.add_argument("--stay", type=float, default=1)
    parser.add_argument("--collect", action="store_true", help="have Java collect now and then while it stays")
    parser.add_argument("--end", choices=["jvm", "python", "at-once"], default="python")
    parser.add_argument("--java", nargs="*", default=[], help="further options of the JVM, without their -")
    options = parser.parse_args()
    jpype.startJVM("-Xmx64m", "-XX:+UseSerialGC", *["-" + option for option in options.java])
    held = jpype.JClass("java.util.ArrayList")()
    queue = jpype.JClass("org.jpype.ref.JPypeReferenceQueue").getInstance()
    kept = []
    loaders = [loader() for _ in range(options.loaders)]
    before = queue.getQueueSize()
    print("begins with", before, flush=True)
    for step in options.steps:
        for _ in range(step):
            held.add(jpype.JProxy("java.lang.Runnable", inst=Listener(options.hold)))
        kept.extend(jpype.JClass("java.lang.StringBuilder")() for _ in range(options.keep))
        if step == 0:
            let_go(held, queue, before)
        print("holds", queue.getQueueSize(), flush=True)
        stay(options)
    if options.census:
        print("asked", ctypes.CDLL(None).leakline_take_census(), flush=True)
        time.sleep(1)
    if options.end == "jvm":
        del held, queue, kept, loaders
        jpype.shutdownJVM()
        time.sleep(1)
    print("ends", flush=True)
    if options.end == "at-once":
        os._exit(0)


main()
