"""What the relay holds of the packets that it saw. Two kinds of callers share `hold`."""

import collections
import sys


#: Small enough for Python's own arenas, as most objects of a program are.
PAYLOAD = 470

#: What one packet costs: itself, and its place in a list that grows by an eighth.
PACKET_BYTES = sys.getsizeof(bytes(PAYLOAD)) + 9


class DestinationCache:
    def __init__(self):
        self.pending_inbound = []
        self.receipts = collections.deque(maxlen=2000)

    def hold(self, queue, payload):
        queue.append(bytes(payload))

    def release(self, count):
        del self.pending_inbound[:count]
