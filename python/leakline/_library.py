"""Finds leakline's library in this process: the agent's, or the one that an app's JVM has loaded. Never loads one."""

import ctypes
import os
import time

#: The agent's library, and the one that a JVM loads (an Android app's).
NAMES = ("libleakline_agent.so", "libleakline_jni.so")

#: Seconds until it is looked for again where it was not found: a look reads the memory map.
_AGAIN = 1.0

_NOLOAD = getattr(os, "RTLD_NOLOAD", 4)
_known = {}
_looked = None


def find():
    """The library with the agent that runs; one that is there, where none runs yet. None: there is none."""
    global _looked
    running = _running()
    now = time.monotonic()
    if running is None and (_looked is None or now - _looked > _AGAIN):
        _looked = now
        for path in _candidates():
            library = None if path in _known else _open(path)
            if library is not None:
                _known[path] = library
        running = _running()
    return running or next(iter(_known.values()), None)


def _running():
    return next((library for library in list(_known.values()) if library.leakline_is_running()), None)


def _candidates():
    # What everybody sees (it was preloaded); by its name, which Android's loader knows too where the library stands inside
    # of an APK; and by its path.
    yield None
    yield from NAMES
    yield from _mapped()


def _mapped():
    """Paths of leakline's libraries in the memory map."""
    paths = []
    try:
        with open("/proc/self/maps", "rb") as maps:
            for line in maps:
                path = os.fsdecode(line.rstrip(b"\n").split(b" ", 5)[-1].lstrip())
                if path.rpartition("/")[2] in NAMES and path not in paths:
                    paths.append(path)
    except OSError:
        pass
    return paths


def _open(path):
    try:
        library = ctypes.CDLL(path, mode=os.RTLD_NOW | _NOLOAD) if path else ctypes.CDLL(None)
        library.leakline_stats_json.restype = ctypes.c_void_p
        library.leakline_free.argtypes = [ctypes.c_void_p]
        library.leakline_free.restype = None
        library.leakline_mark.argtypes = [ctypes.c_char_p]
        library.leakline_open_window.argtypes = [ctypes.c_uint32]
        library.leakline_is_running.argtypes = []
        library.leakline_reader_open.restype = ctypes.c_uint32
        library.leakline_reader_wait.argtypes = [ctypes.c_uint32]
        library.leakline_reader_tell.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
        for name in ("done", "close"):
            function = getattr(library, "leakline_reader_" + name)
            function.argtypes, function.restype = [ctypes.c_uint32], None
    except (OSError, AttributeError, TypeError):
        return None
    return library
