"""What arrives: deliveries are cut into packets, held until they are worked off, and handed on; receipts are kept a while.

The leak that can be planted: packets are not released once they are worked off.
"""

from relay.destination_cache import PACKET_BYTES, PAYLOAD, DestinationCache
from relay.pace import Pace

#: Packets are held at this rate when nothing leaks, too, so that the work is the same.
USUAL_RATE = 512 << 10


class Inbox:
    def __init__(self, leak_rate, readers):
        self.cache = DestinationCache()
        self.pace = Pace(leak_rate or USUAL_RATE)
        self.leaks = leak_rate > 0
        self.readers = readers
        self.delivered = 0

    def on_delivery(self, message):
        self.delivered += 1
        text = message.content
        count = self.queue_packets(text)
        for reader in self.readers:
            reader(text)
        if not self.leaks:
            self.cache.release(count)

    def queue_packets(self, text):
        payload = bytearray(text.ljust(PAYLOAD)[:PAYLOAD])
        count = self.pace.due(PACKET_BYTES)
        for _ in range(count):
            self.cache.hold(self.cache.pending_inbound, payload)
        return count

    def on_receipt(self, message):
        for _ in range(20):
            self.cache.hold(self.cache.receipts, bytearray(message.hash.ljust(PAYLOAD)))

    def kept_bytes(self):
        return len(self.cache.pending_inbound) * PACKET_BYTES
