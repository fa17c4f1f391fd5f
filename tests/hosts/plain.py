"""Plain Python: holds on to objects at a constant rate, or only works. Needs nothing but the standard library."""

import argparse
import json
import sys
import time

#: What one record costs: its text and its place in the list.
TEXT = 200
RECORD_BYTES = sys.getsizeof("r" * TEXT) + 9


def remember(held, number):
    held.append(str(number).ljust(TEXT))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leak", choices=["none", "python"], default="none")
    parser.add_argument("--rate", type=int, default=1 << 20, help="bytes per second")
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    held = []
    begun = time.monotonic()
    while (passed := time.monotonic() - begun) < options.seconds:
        json.loads(json.dumps({"numbers": list(range(100))}))
        if options.leak == "python":
            while (len(held) + 1) * RECORD_BYTES <= passed * options.rate:
                remember(held, len(held))
        time.sleep(0.01)
    print(f"plain.py: {len(held)} records, {len(held) * RECORD_BYTES} bytes")


main()
