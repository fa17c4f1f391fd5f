"""Preloaded, the probe attached before this program's first line: what was imported since is traced."""

import sys

import _tracemalloc
import driver

frames = int(sys.argv[1])
assert driver.was_early()
assert _tracemalloc.is_tracing() and _tracemalloc.get_traceback_limit() == frames, _tracemalloc.get_traceback_limit()
attached = driver.attach(frames=frames)
assert attached["name"].startswith("CPython 3."), attached
assert sys.path[0] in attached["roots"] or sys.flags.isolated, attached
files = {file for site in driver.details()["sites"] for file, _ in site[0]}
assert any(file.endswith("/driver.py") for file in files), files
# Inherited variables are what they were.
import os

assert "PYTHONTRACEMALLOC" not in os.environ
driver.detach()
print("ok")
