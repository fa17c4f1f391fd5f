"""Estimates against the truth: live bytes are planted at sites of their own, of known sizes, and the profile is read, in
many runs. Arguments: the mean, how many runs.
"""

import sys

import driver

MEAN, RUNS = int(sys.argv[1]), int(sys.argv[2])
Z = 1.96
OVERHEAD = bytes(0).__sizeof__()
# Bytes of a block, how many there are, and of how many the content is freed at once.
SITES = [(size, count, freed) for size, count, freed in (
    (48, 4000, 0), (64, 8000, 4000), (100, 3000, 500), (256, 4000, 0), (512, 1500, 200), (600, 1500, 0),
    (2000, 300, 100), (10_000, 100, 0), (65_536, 20, 5), (300_000, 6, 0), (1 << 20, 3, 1),
)]
FILE = "/planted.py"


def planter(line, size):
    source = "\n" * line + "def plant(): return bytes(%d)" % (size - OVERHEAD)
    names = {}
    # A constant is not folded, because it is a call.
    exec(compile(source, FILE, "exec"), names)
    return names["plant"]


plants = [planter(10 * index, size) for index, (size, _, _) in enumerate(SITES)]
lines = {10 * index + 1: index for index in range(len(SITES))}
inside = pairs = missed = 0
sums = [0.0] * len(SITES)
truths = [size * (count - freed) for size, count, freed in SITES]
for run in range(RUNS):
    driver.attach(mode="sampling", mean=MEAN, frames=2)
    kept = []
    for plant, (size, count, freed) in zip(plants, SITES):
        kept.append([plant() for _ in range(count)])
        del kept[-1][:freed]
    found = {}
    for frames, _, size, _, _, error, _ in driver.right(driver.details())["sites"]:
        if frames and frames[0][0] == FILE:
            found[lines[frames[0][1]]] = (size, error)
    driver.detach()
    del kept
    for index, truth in enumerate(truths):
        size, error = found.get(index, (0, 0))
        sums[index] += size
        expected = truth / MEAN
        if index not in found:
            # One in 160,000 is missed by chance.
            missed += expected >= 12 and truth * 100 >= sum(truths)
        if expected < 1:
            continue
        pairs += 1
        if index not in found:
            low, high = 0, Z * Z * MEAN
        elif error == 0:
            low = high = size
        else:
            n = (size / error) ** 2
            middle, half = n + Z * Z / 2, Z * (n + Z * Z / 4) ** 0.5
            low, high = (error * error / size * (middle + sign * half) for sign in (-1, 1))
        inside += low - 0.5 <= truth <= high + 0.5
share = inside / pairs
bias = sum(sums) / RUNS / sum(truths) - 1
print("inside %.2f %% of %d, bias of the sum %+.3f %%, missed %d; by site: %s" % (
    100 * share, pairs, 100 * bias, missed,
    ["%d: %+.1f %%" % (SITES[index][0], 100 * (sums[index] / RUNS / truth - 1)) for index, truth in enumerate(truths)],
), file=sys.stderr)
assert missed == 0, missed
# Of some hundred pairs, by chance, a little less; an interval is a little wide for counts that are whole.
assert share >= (0.93 if RUNS >= 100 else 0.88), share
# No more than chance explains, at any site and in all: 4.5 standard errors of the mean of so many runs.
for index, truth in enumerate(truths + [sum(truths)]):
    estimate = sums[index] if index < len(sums) else sum(sums)
    chance = (truth * MEAN / RUNS) ** 0.5
    assert abs(estimate / RUNS - truth) < 4.5 * chance + 1, (index, estimate / RUNS, truth, chance)
print("ok")
