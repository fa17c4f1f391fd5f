"""CPython and a JVM in one process (JPype), leaking across the bridge; the argument says how.

Needs the classes of the Java programs in the folder that the second argument names.
"""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "python"))

import jpype  # noqa: E402
import pace  # noqa: E402

SIZE = 8000


def start(classes, program):
    # What only passes through dies young, given the room.
    young = "-Xmn16m" if program == "passing-through" else "-Xmn2m"
    jpype.startJVM("-Xmx96m", young, "-XX:+UseSerialGC", classpath=[classes])


def garbage(_):
    """Makes the JVM collect, as a program at work does."""
    array = jpype.JClass("java.lang.reflect.Array")
    byte = jpype.JClass("java.lang.Byte").TYPE
    for _ in range(10):
        array.newInstance(byte, 30_000)


def python_held_by_java():
    listeners = jpype.JClass("java.util.ArrayList")()
    runnable = "java.lang.Runnable"

    class Listener:
        def __init__(self):
            self.buffer = bytes(SIZE)  # leak: python-held-by-java

        def run(self):
            return len(self.buffer)

    def step(_):
        listeners.add(jpype.JProxy(runnable, inst=Listener()))

    pace.run(step, SIZE + 33 + 500, between=garbage)


def java_held_by_python():
    kept = []
    array = jpype.JClass("java.lang.reflect.Array")
    byte = jpype.JClass("java.lang.Byte").TYPE

    def step(_):
        kept.append(array.newInstance(byte, SIZE))  # leak: java-held-by-python

    pace.run(step, SIZE + 16, between=garbage)


def cycle_across():
    # The Java list holds the Python object through its proxy, which holds the list: no collector sees all of it.
    lists = jpype.JClass("java.util.ArrayList")

    class Handler:
        def __init__(self, owner):
            self.owner = owner
            self.buffer = bytes(SIZE)  # leak: cycle-across

        def run(self):
            return self.owner.size()

    def step(_):
        owner = lists()
        owner.add(jpype.JProxy("java.lang.Runnable", inst=Handler(owner)))

    pace.run(step, SIZE + 33 + 700, between=garbage)


def passing_through():
    # Objects cross the bridge in both directions and are let go.
    lists = jpype.JClass("java.util.ArrayList")
    waiting = lists()

    def step(number):
        waiting.add(jpype.JString("x" * SIZE))
        if number % 50 == 49:
            waiting.clear()

    pace.run(step, SIZE, between=garbage)


PROGRAMS = {
    "python-held-by-java": python_held_by_java,
    "java-held-by-python": java_held_by_python,
    "cycle-across": cycle_across,
    "passing-through": passing_through,
}

if __name__ == "__main__":
    start(sys.argv[2], sys.argv[1])
    PROGRAMS[sys.argv[1]]()
    # What leaks does so to the end: ending in order would end the JVM first, and give everything back.
    os._exit(0)
