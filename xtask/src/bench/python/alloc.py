"""Allocates and frees objects of the usual kinds, and does nothing else."""

from measured import measure


def one_round():
    kept = []
    keep = kept.append
    for number in range(300):
        keep(object())
        keep((number, None, number))
        keep({"number": number})
        keep("text %d" % number)
        keep([None] * 10)
        # Some are too large for Python's own allocator.
        keep(bytearray(number * 2))


def work(rounds):
    for _ in range(rounds):
        one_round()


measure(work)
