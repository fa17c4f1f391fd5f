"""Python with a JVM in it (through JPype); both hold objects."""

import sys
import time

import jpype

objects = {number: (str(number), [number]) for number in range(50_000)}
jpype.startJVM("-Xmx256m")
held = jpype.JClass("java.util.ArrayList")()
for number in range(5_000):
    held.add(jpype.JClass("java.lang.StringBuilder")("text " * 50))
time.sleep(float(sys.argv[1]))
