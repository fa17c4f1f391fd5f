"""The Python part of JepHost: works, and holds on to records when it is told to."""

import ctypes
import json
import sys

TEXT = 200
RECORD_BYTES = sys.getsizeof("r" * TEXT) + 9

HELD = []


def work():
    json.loads(json.dumps({"numbers": list(range(100))}))


def keep_up_to(size):
    while (len(HELD) + 1) * RECORD_BYTES <= size:
        remember(len(HELD))


def remember(number):
    HELD.append(str(number).ljust(TEXT))


class Listener:
    pass


def listener():
    return Listener()


class Holder:
    def __init__(self, target):
        self.target = target


def holder(target):
    return Holder(target)


def look_for_cycles():
    return ctypes.CDLL(None).leakline_look_for_cycles()


def count():
    return len(HELD)
