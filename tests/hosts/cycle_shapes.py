"""Python with a JVM in it (through JPype), with one cycle across the two heaps of each of several shapes, and one object that
Java refers to weakly, which is none. Asks leakline to look for cycles, and ends with the JVM still there."""

import ctypes
import os
import time

import jpype


class Listener:
    def run(self):
        return None


class Slotted(Listener):
    __slots__ = ("target",)


def java(name, *arguments):
    return jpype.JClass(name)(*arguments)


def held(listener):
    return jpype.JProxy("java.lang.Runnable", inst=listener)


def in_containers():
    listener, target = Slotted(), java("java.util.ArrayList")
    listener.target = {"key": [(target,)]}
    target.add(held(listener))


def in_a_closure():
    listener, target = Listener(), java("java.util.HashMap")

    def callback():
        return target

    listener.callback = callback
    target.put("listener", held(listener))


def in_a_bound_method():
    listener, target = Listener(), java("java.util.concurrent.ConcurrentHashMap")
    listener.size = target.size
    listener.other = listener
    target.put("listener", held(listener))


def in_a_thread():
    listener = Listener()
    listener.thread = java("java.lang.Thread", held(listener))


def weakly():
    listener, target = Listener(), java("java.util.ArrayList")
    listener.target = target
    target.add(java("java.lang.ref.WeakReference", held(listener)))
    return listener


def main():
    jpype.startJVM("-Xmx64m", "-Xcheck:jni")
    for shape in [in_containers, in_a_closure, in_a_bound_method, in_a_thread]:
        shape()
    kept = weakly()
    time.sleep(1.5)
    for _ in range(3):
        print("asked", ctypes.CDLL(None).leakline_look_for_cycles(), flush=True)
        # The probe may not have found the bridge yet at the first time.
        time.sleep(1)
    print("ends with", type(kept).__name__, flush=True)
    os._exit(0)


main()
