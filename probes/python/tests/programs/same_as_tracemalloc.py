"""The profile equals tracemalloc's own statistics of the same instant: every site, its frames, bytes and blocks."""

import tracemalloc

import _tracemalloc
import driver

FRAMES = 6
kept = []


def recurse(depth, size):
    if depth == 0:
        kept.append(bytearray(size))
        kept.append([size, str(size) * 3])
    else:
        recurse(depth - 1, size)


def run_as(file, size):
    source = "\n" * (size % 50) + "kept.append({'size': %d, 'more': list(range(%d))})" % (size, size % 40)
    exec(compile(source, file, "exec"), {"kept": kept})


def work():
    for size in range(1, 1200, 7):
        recurse(size % 9, size)
    for size in range(300):
        run_as("/made/up/module%d.py" % (size % 13), size)
    for file in ("/ünï/cødé.py", "/surrogate/\udc80.py", "", "<string>"):
        run_as(file, 77)
    big = [object() for _ in range(5000)]
    kept.append(big)
    kept.append({number: str(number) for number in range(2000)})


def lossy(file):
    return file.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def path(traceback):
    return tuple((lossy(frame.filename), frame.lineno) for frame in reversed(traceback))


def added(sites, key, size, count):
    before = sites.get(key, (0, 0))
    sites[key] = (before[0] + size, before[1] + count)


def theirs(snapshot):
    """By call path, which is what statistics() tells apart; and by call path and whether it was cut off."""
    paths, sites = {}, {}
    for statistic in snapshot.statistics("traceback"):
        added(paths, path(statistic.traceback), statistic.size, statistic.count)
    for trace in snapshot.traces:
        frames = path(trace.traceback)
        added(sites, (frames, trace.traceback.total_nframe > len(frames)), trace.size, 1)
    return paths, sites


def ours(details):
    paths, sites = {}, {}
    for frames, truncated, size, count, *_ in details["sites"]:
        frames = tuple((file, line) for file, line in frames)
        assert (frames, truncated) not in sites, frames
        added(paths, frames, size, count)
        added(sites, (frames, truncated), size, count)
    return paths, sites


def look():
    """Both at the very same instant: what the probe gets from tracemalloc is kept for tracemalloc itself to analyse."""
    arenas = "python.allocated_blocks" in driver.gauges()["gauges"]
    details = driver.details()
    assert arenas == ("python.traced_small_bytes" in details["gauges"])
    return details, tracemalloc.Snapshot(copies.pop(), tracemalloc.get_traceback_limit())


def copying():
    traces = get_traces()
    copies.append(list(traces))
    return traces


copies = []
get_traces = _tracemalloc._get_traces
_tracemalloc._get_traces = copying
attached = driver.attach(frames=FRAMES, filters=[])
_tracemalloc._get_traces = get_traces
assert attached["name"].startswith("CPython 3."), attached
work()

for again in range(3):
    details, snapshot = look()
    for expected, found in zip(theirs(snapshot), ours(details)):
        for key in expected.keys() | found.keys():
            if expected.get(key) != found.get(key):
                raise AssertionError((again, key, "expected", expected.get(key), "found", found.get(key)))
        assert len(found) > 200, len(found)
    assert any(truncated for _, truncated in found) and not all(truncated for _, truncated in found)
    small = sum(trace.size for trace in snapshot.traces if trace.size <= 512)
    # Absent where there are no arenas for small requests.
    assert details["gauges"].get("python.traced_small_bytes", small) == small, (details["gauges"], small)
    for size in range(100):
        run_as("/made/up/later%d.py" % again, size)

# Without the copy in between, at nearly the same instant: within what looking itself allocates.
details, snapshot = driver.details(sites=False), tracemalloc.take_snapshot()
total = sum(size for _, size, *_ in snapshot.traces._traces)
assert abs(details["total"][0] - total) < 500_000, (details["total"], total)

# The gauges belong to the same instant, too.
current, _ = tracemalloc.get_traced_memory()
gauges = driver.gauges()
assert gauges["taken_in_time"], gauges
assert abs(gauges["gauges"]["python.traced_bytes"] - current) < 20_000, (gauges, current)
print("ok")
