"""Has leakline read a queue and a cache of its own; one probe fails, one is removed. Says `ok` when all was seen."""

import time

import leakline

waiting = []
cache = {"key": "value"}


@leakline.probe
def queue(gauges):
    gauges.count("queue_length", len(waiting))
    gauges.total("queue_total", 10 * len(waiting))


@leakline.probe
class Cache:
    name = "cache"
    layer = "native"

    def read(self, gauges):
        gauges.bytes("cache_bytes", sum(map(len, cache.values())))


@leakline.probe(name="broken", layer="process")
def fails(gauges):
    gauges.count("never_seen", 1)
    return 1 / 0


@leakline.probe(name="wrong")
def names_badly(gauges):
    gauges.count("Queue Length", 1)


def gauges():
    """All gauges of a snapshot taken now, but leakline may be late on a busy machine."""
    snapshot = leakline.snapshot_now() or {"readings": []}
    return {gauge["name"]: gauge["value"] for reading in snapshot["readings"] for gauge in reading["gauges"]}


def until(what, holds):
    end = time.monotonic() + 60
    while not holds(gauges()):
        if time.monotonic() > end:
            raise SystemExit("never %s: %r" % (what, gauges()))


until("read", lambda it: it.get("python.queue_length") == 0 and it.get("native.cache_bytes") == 5)
waiting.extend("abc")
until("grown", lambda it: it.get("python.queue_length") == 3 and it.get("python.queue_total") == 30)
if not leakline.remove_probe("cache") or leakline.remove_probe("cache"):
    raise SystemExit("a probe is removed once")
until("removed", lambda it: "python.queue_length" in it and "native.cache_bytes" not in it)
if "process.never_seen" in gauges():
    raise SystemExit("a gauge of a probe that failed")
if not queue.remove() or queue.remove():
    raise SystemExit("a probe is removed once, by its handle, too")
until("removed", lambda it: it and "python.queue_length" not in it)
print("ok", flush=True)
