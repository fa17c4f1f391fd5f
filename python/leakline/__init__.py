"""leakline from inside of the Python program that it watches.

    import leakline

    leakline.mark("reconnect")

Every function may be called from any thread, and does nothing where the program does not run under leakline: it says so by
`False` or `None`. Nothing here starts leakline: `leakline run` does, or the host that embeds it.
"""

import ctypes
import json
import os

__all__ = [
    "close_window",
    "is_present",
    "look_for_cycles",
    "mark",
    "open_window",
    "reset_baseline",
    "snapshot_now",
    "stats",
    "stop",
    "take_census",
]

_AGENT = "libleakline_agent.so"
_found = None


def _agent():
    """The agent, if it is in this process: preloaded, or brought in later."""
    global _found
    if _found is None:
        # Among the names that everybody sees; then by itself, without loading it.
        for name, mode in ((None, 0), (_AGENT, getattr(os, "RTLD_NOLOAD", 4) | os.RTLD_NOW)):
            try:
                library = ctypes.CDLL(name, mode=mode or ctypes.DEFAULT_MODE)
                library.leakline_stats_json.restype = ctypes.c_void_p
            except (OSError, AttributeError):
                continue
            library.leakline_free.argtypes = [ctypes.c_void_p]
            library.leakline_mark.argtypes = [ctypes.c_char_p]
            library.leakline_open_window.argtypes = [ctypes.c_uint32]
            _found = library
            break
    return _found


def _done(function, *arguments):
    agent = _agent()
    return agent is not None and getattr(agent, function)(*arguments) == 0


def is_present():
    """Whether leakline runs in this process."""
    return stats() is not None


def mark(name):
    """Tells an event of the program's, such as `reconnect`. Never waits."""
    return _done("leakline_mark", str(name).encode("utf-8", "replace"))


def snapshot_now():
    """Takes a snapshot besides the regular ones, waits for it, and gives it as `stats` does."""
    return stats() if _done("leakline_snapshot_now") else None


def stats():
    """The last snapshot: a dictionary, as it is on the wire. None: there is none."""
    agent = _agent()
    text = agent.leakline_stats_json() if agent is not None else None
    if not text:
        return None
    try:
        return json.loads(ctypes.string_at(text))
    finally:
        agent.leakline_free(text)


def reset_baseline():
    """Takes a snapshot that growth is counted from from now on. Does not wait for it."""
    return _done("leakline_reset_baseline")


def open_window(seconds):
    """Records every allocation for so many seconds."""
    return seconds >= 1 and _done("leakline_open_window", int(seconds))


def close_window():
    """Ends the window that is open."""
    return _done("leakline_close_window")


def take_census():
    """Counts objects by type with a snapshot taken now. Does not wait for it."""
    return _done("leakline_take_census")


def look_for_cycles():
    """Looks for cycles across the heaps of Python and Java with a snapshot taken now. Does not wait for it."""
    return _done("leakline_look_for_cycles")


def stop():
    """Stops leakline in this process. Waits until its last snapshot is written."""
    return _done("leakline_stop")
