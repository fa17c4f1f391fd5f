"""The program's own probes: who they are, and the thread that reads them when leakline asks.

The thread is Python's own (a daemon), not one of leakline's: so whatever a probe does, and whenever Python ends, nothing of
leakline's stands in Python's code. It waits outside of the GIL, and has ended before Python's end begins, unless a probe is
stuck: then it is what any daemon thread is.
"""

import atexit
import os
import re
import threading

from . import _library

LAYERS = ("python", "jvm", "native", "process")
#: Bounds of what one program may have read at each tick.
MOST_PROBES, MOST_GAUGES = 32, 64
#: How long Python's end waits for a probe that is being read.
END_SECONDS = 1.0

_NAME = re.compile("[a-z][a-z0-9_]{0,63}", re.ASCII)
# Taken again by a signal handler that marks something while its thread has it.
_lock = threading.RLock()
_probes = []
_reader = None
_has_ended = False


class Probe:
    """A probe that was registered. Called, it is what was registered; `remove()` ends it."""

    def __init__(self, what, read, name, layer):
        self.name, self.layer, self._what, self._read = name, layer, what, read
        self.__doc__ = getattr(read, "__doc__", None)

    def __call__(self, *arguments, **named):
        return self._read(*arguments, **named)

    def __repr__(self):
        return "<leakline.Probe %s of layer %s>" % (self.name, self.layer)

    def remove(self):
        """No more. False: it was removed already."""
        with _lock:
            if self not in _probes:
                return False
            _probes.remove(self)
            return True


class Gauges:
    """Takes what a probe read. Names are lower-case letters, digits and underscores; the layer's name is put in front."""

    def __init__(self, layer):
        self._layer, self._lines = layer, []

    def bytes(self, name, value):
        """A level in bytes. End its name in `_bytes`."""
        self._add(name, "bytes\tlevel", value)

    def count(self, name, value):
        """A level that counts things."""
        self._add(name, "count\tlevel", value)

    def total(self, name, value):
        """A count that only rises."""
        self._add(name, "count\ttotal", value)

    def _add(self, name, kind, value):
        checked(name, "a gauge")
        number = float(value)
        if not 0 <= number < float("inf"):
            raise ValueError("%s is %r: a gauge is a number from 0 on" % (name, value))
        if len(self._lines) >= MOST_GAUGES:
            raise ValueError("more than %d gauges in one probe" % MOST_GAUGES)
        self._lines.append("gauge\t%s.%s\t%s\t%r\n" % (self._layer, name, kind, number))


def checked(name, what):
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError("%r cannot name %s: up to 64 lower-case letters, digits and underscores, a letter first" % (name, what))
    return name


def add(what, name, layer):
    """Registers a function that takes gauges, or an object (or class) with `name`, `layer` and `read`."""
    target = what() if isinstance(what, type) else what
    read = getattr(target, "read", target)
    if not callable(read):
        raise TypeError("%r is no probe: a function that takes gauges, or an object with a method `read`" % (what,))
    name = name or getattr(target, "name", None) or getattr(target, "__name__", None)
    layer = layer or getattr(target, "layer", None) or "python"
    probe = Probe(what, read, checked(name, "a probe"), layer)
    if layer not in LAYERS:
        raise ValueError("%r is no layer: there are %s" % (layer, ", ".join(LAYERS)))
    with _lock:
        if any(known.name == probe.name for known in _probes):
            raise ValueError("there is a probe %s already: remove it first, or give this one another name" % probe.name)
        if len(_probes) >= MOST_PROBES:
            raise ValueError("there are %d probes already" % MOST_PROBES)
        _probes.append(probe)
    connect()
    return probe


def remove(which):
    """Removes a probe: what `add` gave, what was registered, or a name."""
    named = which if isinstance(which, str) else None
    with _lock:
        found = [probe for probe in _probes if probe is which or probe._what is which or probe.name == named]
    return any([probe.remove() for probe in found])


def connect():
    """Has the probes read, if there are any, leakline is in this process, and nobody reads them yet."""
    global _reader
    if not _probes or _reader is not None or _has_ended:
        return
    with _lock:
        library = _library.find() if _reader is None else None
        if library is None:
            return
        number = library.leakline_reader_open()
        if number == 0:
            return
        thread = threading.Thread(target=_serve, args=(library, number), name="leakline-custom", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # Python is ending already, or this interpreter has no such threads.
            library.leakline_reader_close(number)
            return
        _reader = (library, number, thread)


def _serve(library, number):
    while library.leakline_reader_wait(number) == 1:
        with _lock:
            probes = list(_probes)
        for probe in probes:
            _tell(library, number, "probe\t%s\n" % probe.name)
            _tell(library, number, _read(probe))
        library.leakline_reader_done(number)


def _tell(library, number, text):
    library.leakline_reader_tell(number, text.encode("utf-8", "replace"))


def _read(probe):
    gauges = Gauges(probe.layer)
    try:
        probe._read(gauges)
        return "".join(gauges._lines)
    except BaseException as error:
        # Whatever it is: it is the program's probe, and not its end.
        return "note\t%s: %s\n" % (probe.name, _told(error))


def _told(error):
    """The exception in one line, with the last place in it that is not here."""
    place, step = "", error.__traceback__
    while step is not None:
        file = step.tb_frame.f_code.co_filename
        if file != __file__:
            place = " (%s:%d)" % (os.path.basename(file), step.tb_lineno)
        step = step.tb_next
    try:
        text = "%s: %s" % (type(error).__name__, error)
    except Exception:
        text = type(error).__name__
    return "".join(c if c.isprintable() else " " for c in text[:150] + place)


def _end():
    """Before Python's end begins, nobody is asked any more."""
    global _reader, _has_ended
    with _lock:
        reader, _reader, _has_ended = _reader, None, True
    if reader is not None:
        library, number, thread = reader
        library.leakline_reader_close(number)
        thread.join(END_SECONDS)


def _after_fork():
    """A forked child has no such thread, and no leakline."""
    global _lock, _reader
    _lock, _reader = threading.RLock(), None
    _probes.clear()


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
