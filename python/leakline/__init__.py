"""leakline from inside of the Python program that it watches.

    import leakline

    leakline.mark("reconnect")

    @leakline.probe
    def queue(gauges):
        gauges.count("queue_length", len(waiting))

Every function may be called from any thread, and does nothing where the program does not run under leakline: it says so by
`False` or `None`. Nothing here starts leakline: `leakline run` does, or the host that embeds it (an Android app's library).
"""

import ctypes
import json

from . import _library, _probes
from ._probes import Gauges, Probe

__all__ = [
    "Gauges",
    "Probe",
    "close_window",
    "is_present",
    "look_for_cycles",
    "mark",
    "open_window",
    "probe",
    "remove_probe",
    "reset_baseline",
    "snapshot_now",
    "stats",
    "stop",
    "take_census",
]


def _agent():
    """The agent, if it is in this process: preloaded, or brought in later."""
    agent = _library.find()
    if agent is not None:
        _probes.connect()
    return agent


def _done(function, *arguments):
    agent = _agent()
    return agent is not None and getattr(agent, function)(*arguments) == 0


def is_present():
    """Whether leakline runs in this process."""
    agent = _agent()
    return agent is not None and agent.leakline_is_running() == 1


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


def probe(what=None, *, name=None, layer=None):
    """Has something of the program's own read at each tick: the length of a queue, the bytes of a cache.

    `what` is a function that takes a `Gauges`, or an object or a class with `name`, `layer` and a method `read` that does;
    without it this is a decorator. The layer is `python` unless it is said to be `jvm`, `native` or `process`. The name is
    the function's own if none is given.

    It is called on a thread of its own, one probe after the other, after the layers' own gauges were read. An exception
    costs its own gauges, and is told with the reading; one that does not return is named there. Gives a `Probe`, whose
    `remove()` ends it. Where leakline is not in the process, it is only remembered.
    """
    if what is None:
        return lambda wanted: _probes.add(wanted, name, layer)
    return _probes.add(what, name, layer)


def remove_probe(which):
    """Removes a probe by what `probe` gave, by what was registered, or by its name."""
    return _probes.remove(which)
