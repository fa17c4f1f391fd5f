"""Code that is compiled, run once and dropped comes to lie at the same address again and again: each is a site of its own."""

import driver

ROUNDS = 500
driver.attach(mode="exact", frames=4)
kept = []
for number in range(ROUNDS):
    names = {}
    exec(compile("def keep(size):\n    return bytes(size)\n", "/made/up/%d.py" % number, "exec"), names)
    kept.append(names["keep"](1000 + number))
    names.clear()
found = {frames[0][0]: size for frames, _, size, *_ in driver.details()["sites"]}
header = bytes.__basicsize__
for number in range(ROUNDS):
    assert found.get("/made/up/%d.py" % number) == header + 1000 + number, (number, found.get("/made/up/%d.py" % number))
print("ok")
