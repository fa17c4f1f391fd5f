"""Frames as leakline reads them where it takes the interpreter for a version that nobody has seen: by what the interpreter
publishes for debuggers, in whichever of the known ways fits; else not at all, and said. Nothing may be read that is not
there."""

import ctypes
import os
import sys

part = ctypes.PyDLL(os.environ["LEAKLINE_PYTHON_LIBRARY"])
tell = part.leakline_cpython_frames_of
tell.restype = ctypes.py_object
tell.argtypes = [ctypes.c_uint8, ctypes.c_uint8]
publishes = sys.version_info >= (3, 13)


def said(frame):
    lines = []
    while frame:
        code = frame.f_code
        name = getattr(code, "co_qualname", code.co_name)
        lines.append("%s\t%s\t%d" % (name, code.co_filename, frame.f_lineno or 0))
        frame = frame.f_back
    return lines


def check(minor, patch):
    # On one line: it is part of the path.
    told = tell(minor, patch); lines = said(sys._getframe())
    if publishes:
        assert told.split("\n")[:-1] == lines, (told, lines)
    else:
        assert told == "!the frames of CPython 3.%d are not known to leakline" % minor, told


def deep(left):
    return deep(left - 1) if left else [check(*version) for version in ((16, 0), (17, 3), (99, 0))]


deep(40)
print("ok")
