"""What the relay holds of the packets that it saw. Two kinds of callers share `hold`."""

import collections
import sys


class Packet:
    __slots__ = ("source", "payload")

    def __init__(self, source, payload):
        self.source = source
        self.payload = payload


#: Small enough for Python's own arenas, as most objects of a program are.
PAYLOAD = 400

#: What one packet costs: its payload, itself with the collector's header, and its place in a list.
PACKET_BYTES = sys.getsizeof(bytes(PAYLOAD)) + sys.getsizeof(Packet(None, None)) + 16 + 9


class DestinationCache:
    def __init__(self):
        self.pending_inbound = []
        self.receipts = collections.deque(maxlen=2000)

    def hold(self, queue, source, payload):
        queue.append(Packet(source, bytes(payload)))

    def release(self, count):
        del self.pending_inbound[:count]
