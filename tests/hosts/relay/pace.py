"""How many bytes are due by now at a constant rate, whoever asks and however often."""

import threading
import time


class Pace:
    def __init__(self, bytes_per_second):
        self.rate = bytes_per_second
        self.given = 0
        self.begun = None
        self.lock = threading.Lock()

    def due(self, piece):
        """Pieces of `piece` bytes that are due since the last call. The first call starts the clock."""
        now = time.monotonic()
        with self.lock:
            if self.begun is None:
                self.begun = now
            pieces = int(((now - self.begun) * self.rate - self.given) / piece)
            self.given += pieces * piece
        return pieces
