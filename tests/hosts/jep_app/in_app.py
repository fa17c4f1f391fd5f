"""The Python side of JepApp: tells events and has a queue read, through leakline's functions for Python."""

import leakline

waiting = ["a", "b"]


@leakline.probe
def queue(gauges):
    gauges.count("queue_length", len(waiting))


leakline.mark("from-python")


def present():
    return leakline.is_present() and leakline.stats() is not None


def leave():
    if not queue.remove():
        raise RuntimeError("the probe was not there")
    leakline.mark("probe-removed")
