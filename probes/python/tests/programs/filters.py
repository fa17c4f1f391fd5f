"""Imports, what has no call path, and what looks at memory itself are left out; everything else is there."""

import tracemalloc

import driver

driver.attach(frames=5)
import decimal, email.mime.text, xml.dom.minidom  # noqa: E401,E402,F401  allocate in the import machinery

snapshot = tracemalloc.take_snapshot()
kept = [bytearray(10_000) for _ in range(10)]
top_files = {frames[0][0] for frames, *_ in driver.details()["sites"]}
for file in top_files:
    assert "importlib._bootstrap" not in file and file != "<unknown>" and not file.endswith("/tracemalloc.py"), file
assert __file__ in top_files, top_files
# A filter is about the innermost frame only: what was allocated on behalf of an import is not hidden.
assert any("importlib._bootstrap" in file for frames, *_ in driver.details()["sites"] for file, _ in frames)
print("ok")
