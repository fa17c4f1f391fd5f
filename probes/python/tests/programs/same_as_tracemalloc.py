"""The profile equals tracemalloc's own statistics of the same instant: every site, its frames, bytes and blocks."""

import gc
import tracemalloc

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


def look():
    return driver.details(), tracemalloc.take_snapshot()


LOOKED_AT = (__file__, look.__code__.co_firstlineno + 1)


def lossy(file):
    return file.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def theirs(snapshot):
    sites = {}
    for statistic in snapshot.statistics("traceback"):
        frames = tuple((lossy(frame.filename), frame.lineno) for frame in reversed(statistic.traceback))
        total = statistic.traceback.total_nframe
        key = (frames, total is not None and total > len(frames))
        size, count = sites.get(key, (0, 0))
        sites[key] = (size + statistic.size, count + statistic.count)
    return sites


def ours(details):
    sites = {}
    for frames, truncated, size, count in details["sites"]:
        key = (tuple((file, line) for file, line in frames), truncated)
        assert key not in sites, key
        sites[key] = (size, count)
    return sites


def looks_at_itself(key):
    # Between the two looks, only the looking itself allocates.
    return any(file.endswith(("/tracemalloc.py", "/driver.py", "/ctypes/__init__.py")) or "/json/" in file
               for file, _ in key[0]) or key[0][0] == LOOKED_AT


attached = driver.attach(frames=FRAMES, filters=[])
assert attached["name"].startswith("CPython 3."), attached
work()
gc.collect()
gc.disable()

for again in range(3):
    details, snapshot = look()
    expected, found = theirs(snapshot), ours(details)
    expected = {key: value for key, value in expected.items() if not looks_at_itself(key)}
    found = {key: value for key, value in found.items() if not looks_at_itself(key)}
    for key in expected.keys() | found.keys():
        if expected.get(key) != found.get(key):
            raise AssertionError((again, key, "expected", expected.get(key), "found", found.get(key)))
    assert len(found) > 200, len(found)
    assert any(truncated for _, truncated in found) and not all(truncated for _, truncated in found)
    del details, snapshot, expected, found
    for size in range(100):
        run_as("/made/up/later%d.py" % again, size)

# The gauges belong to the same instant, too.
current, _ = tracemalloc.get_traced_memory()
gauges = driver.gauges()
assert gauges["taken_in_time"], gauges
assert abs(gauges["gauges"]["python.traced_bytes"] - current) < 20_000, (gauges, current)
print("ok")
