"""Holds Python objects, small and large, after it dropped as many."""

import sys
import time

held = {number: (str(number), [number] * 3) for number in range(60_000)}
dropped = [{"number": number} for number in range(60_000)]
large = [bytearray(50_000) for _ in range(100)]
del dropped
time.sleep(float(sys.argv[1]))
