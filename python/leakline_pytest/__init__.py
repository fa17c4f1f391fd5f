"""A pytest marker: the test's body is run many times in a process of its own under `leakline run`, and the test fails
when a layer leaks, with the call path.

    @pytest.mark.leakline(seconds=4)
    def test_reconnect_keeps_nothing():
        client.reconnect()

Arguments: `seconds` (how long the body is repeated, 4), `rounds` (at least so many times, 20), `max_bytes` (that a round
may leave behind, 8: what is kept in every round is larger, for no allocator gives out less than 16). The program `leakline` is found on PATH, or where the variable PYTEST_LEAKLINE says.

Never runs a marked test in pytest's own process: its fixtures are set up in the other one, once for all rounds.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import pytest

#: Tells the process that runs the rounds that it is the one, and where it says how many it was.
ROUNDS_FILE = "PYTEST_LEAKLINE_ROUNDS"
#: A round's memory is small: finer than the usual samples, readings more often.
OPTIONS = ["--quiet", "--interval", "100ms", "--python-sample", "2KiB", "--native-sample", "8KiB"]
#: So fine, the modules that pytest imports alone fill leakline's usual bounds with call paths.
ROOM = {"LEAKLINE_OWN_MAX_BYTES": "128MiB"}
#: Caches fill and modules are imported in the first rounds, before anything is recorded as growth.
WARM_UP = 5
#: The rest that no layer explains (pages that malloc keeps, mappings) is not judged: over seconds it is noise.
LAYERS = ("python", "jvm", "native")
#: At most: a body of a microsecond that leaks a kilobyte would otherwise fill the machine's memory.
ROUNDS_PER_SECOND = 20_000
#: What starting Python and pytest may take beside the rounds.
SLACK_SECONDS = 120


def pytest_configure(config):
    config.addinivalue_line(
        "markers",
        "leakline(seconds=4, rounds=20, max_bytes=8): repeat the test under leakline; it fails when memory grows by it",
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    if ROUNDS_FILE in os.environ:
        return
    for index, item in enumerate(items):
        marker = item.get_closest_marker("leakline")
        if marker is not None and isinstance(item, pytest.Function):
            items[index] = Watched.of(item, Settings(**marker.kwargs))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """In the watched process: the rounds."""
    marker = pyfuncitem.get_closest_marker("leakline")
    if marker is None or ROUNDS_FILE not in os.environ:
        return None
    settings = Settings(**marker.kwargs)
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    for _ in range(WARM_UP):
        pyfuncitem.obj(**arguments)
    at, begun, rounds = time.time(), time.monotonic(), 0
    while rounds < settings.rounds or time.monotonic() - begun < settings.seconds:
        pyfuncitem.obj(**arguments)
        rounds += 1
        if rounds > (time.monotonic() - begun) * ROUNDS_PER_SECOND:
            time.sleep(0.001)
    seconds = time.monotonic() - begun
    pathlib.Path(os.environ[ROUNDS_FILE]).write_text(json.dumps({"rounds": rounds, "at": at, "seconds": seconds}))
    return True


class Settings:
    """The marker's arguments."""

    def __init__(self, seconds=4, rounds=20, max_bytes=8):
        self.seconds = seconds
        self.rounds = rounds
        self.max_bytes = max_bytes


class Leak(Exception):
    """Something leaks: the lines that pytest shows."""


class Watched(pytest.Item):
    """Stands for a marked test: runs it elsewhere and reads what leakline says."""

    @classmethod
    def of(cls, item, settings):
        watched = cls.from_parent(item.parent, name=item.name, nodeid=item.nodeid)
        watched.own_markers = item.own_markers
        watched.keywords.update(item.keywords)
        watched.settings = settings
        watched.place = item.location
        return watched

    def reportinfo(self):
        return self.path, self.place[1], self.place[2]

    def repr_failure(self, excinfo):
        if isinstance(excinfo.value, Leak):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def runtest(self):
        program = os.environ.get("PYTEST_LEAKLINE") or shutil.which("leakline")
        if program is None:
            pytest.skip("the program leakline is neither on PATH nor where the variable PYTEST_LEAKLINE says")
        with tempfile.TemporaryDirectory() as folder:
            recording = os.path.join(folder, "rounds.leak")
            counted = pathlib.Path(folder) / "rounds.json"
            run_rounds(program, recording, counted, self)
            rounds = json.loads(counted.read_text())
            report = read(program, recording)
            report = read(program, recording, *during(report, rounds))
            words = leaks(report, rounds, self.settings.max_bytes)
        if words:
            raise Leak("\n".join(words))


def run_rounds(program, recording, counted, item):
    command = [program, "run", *OPTIONS, "-o", recording, "--", sys.executable, "-m", "pytest"]
    # Whether it is installed or only on the path: once.
    command += ["-q", "-p", "no:cacheprovider", "-p", "no:leakline", "-p", "leakline_pytest"]
    command += ["--rootdir", str(item.config.rootpath), item.nodeid]
    ended = subprocess.run(
        command,
        cwd=item.config.rootpath,
        env={**ROOM, **os.environ, ROUNDS_FILE: str(counted)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=item.settings.seconds + SLACK_SECONDS,
        check=False,
        text=True,
    )
    if ended.returncode != 0 or not counted.exists():
        raise Leak(f"the test failed, whether it leaks or not:\n{ended.stdout}")
    if not os.path.exists(recording):
        raise Leak(f"the rounds were not watched:\n{ended.stdout}")


def read(program, recording, *options):
    return json.loads(subprocess.check_output([program, "report", "--json", "--top", "3", *options, recording]))


def during(report, counted):
    """Options for the snapshots of the rounds alone: neither Python's start nor its end is theirs."""
    begin, end = counted["at"], counted["at"] + counted["seconds"]
    numbers = [row["number"] for row in report["snapshots"] if begin <= row["at"]["unix_seconds"] <= end]
    if len(numbers) < 2:
        raise Leak("too few readings during the rounds: give the marker more seconds")
    return ["--from", str(numbers[0]), "--to", str(numbers[-1])]


def leaks(report, counted, max_bytes):
    """Lines about each layer that leaks more than it may per round; none when all is well."""
    seconds_per_round = counted["seconds"] / counted["rounds"]
    words = []
    for verdict in report["verdicts"]:
        # Before `leaks` was told beside it, a leak's kind had this name.
        leaking = verdict.get("leaks", verdict["kind"] == "leaking")
        if verdict["site"] is not None or verdict["layer"] not in LAYERS or not leaking:
            continue
        per_round = verdict["bytes_per_second"] * seconds_per_round
        if per_round > max_bytes:
            words.append(f"{verdict['layer']} grows by {per_round:.0f} bytes per round ({counted['rounds']} rounds)")
            words += [f"    {line}" for line in first_path(report, verdict["layer"])]
    return words


def first_path(report, layer):
    """The call path that grew most, innermost frame first, without pytest's own frames below the test."""
    sites = [row for growth in report["growth"] if growth["layer"] == layer for row in growth["sites"]]
    if not sites:
        return []
    site = max(sites, key=lambda row: row["grown_bytes"])["site"]
    if "class" in site:
        return [site["class"]]
    lines = []
    for frame in site["frames"]:
        if "_pytest" in frame["file"] or "leakline_pytest" in frame["file"]:
            break
        lines.append(f"{'< ' if lines else ''}{frame['short_file']}:{frame['line']} {frame['function']}")
    return lines
