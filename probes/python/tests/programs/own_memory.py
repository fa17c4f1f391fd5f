"""What leakline does in the interpreter is not the host's: sixty readings and censuses leave nothing among the sites."""

import driver

NOT_OURS = (__file__, driver.__file__, "/json/", "/ctypes/")


def held_elsewhere():
    """Live blocks by path, of everything but this program and what it calls the driver with; no filter hides any."""
    held = {}
    for frames, _, size, blocks, *_ in driver.details()["sites"]:
        if not any(part in file for file, _ in frames for part in NOT_OURS):
            held[tuple(map(tuple, frames))] = (size, blocks)
    return held


driver.attach(mode="exact", frames=16, filters=[])
for _ in range(5):
    driver.gauges(), driver.census(), driver.details(sites=False)
before = held_elsewhere()
for _ in range(60):
    driver.gauges(), driver.census(), driver.details(sites=False)
after = held_elsewhere()
grown = {path: (before.get(path), held) for path, held in after.items() if held > before.get(path, (0, 0))}
assert not grown, grown
print("ok")
