"""Holds arrays of numpy beside Python's objects: touched, and zeros that were not."""

import sys
import time

import numpy

held = [numpy.ones(20_000) for _ in range(100)] + [numpy.random.default_rng(1).random((500, 500))]
zeros = numpy.zeros(50_000_000)
product = held[-1] @ held[-1]
objects = {number: str(number) for number in range(30_000)}
time.sleep(float(sys.argv[1]))
