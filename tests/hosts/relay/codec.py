"""The native part: every message goes through a codec in C. The leak that can be planted is in C."""

import ctypes

from relay.pace import Pace

#: One remembered window, as malloc counts it.
WINDOW_BYTES = 1008

#: Windows are made at this rate when nothing leaks, too, so that the work is the same.
USUAL_RATE = 512 << 10


class History:
    def __init__(self, hosts, leak_rate):
        self.library = ctypes.CDLL(str(hosts / "libcodec.so"))
        self.library.codec_encode.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
        self.library.codec_encode.restype = ctypes.c_size_t
        self.library.codec_remember.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
        self.library.codec_kept_bytes.restype = ctypes.c_size_t
        self.pace = Pace(leak_rate or USUAL_RATE)
        self.leaks = leak_rate > 0

    def on_message(self, text):
        self.library.codec_encode(text, len(text))
        self.library.codec_remember(self.pace.due(WINDOW_BYTES), WINDOW_BYTES)
        if not self.leaks:
            self.library.codec_trim()

    def kept_bytes(self):
        return self.library.codec_kept_bytes()
