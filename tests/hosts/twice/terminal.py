"""Runs a program on a terminal of its own, presses keys, and says what came back and how it ended.

usage: terminal.py KEYS COMMAND...; in KEYS, `,` waits a moment and `^C`, `^Z`, `^D`, `^\\` are those keys
"""

import os
import pty
import select
import signal
import sys
import time

KEYS = {"^C": b"\x03", "^Z": b"\x1a", "^D": b"\x04", "^\\": b"\x1c"}


def everything(terminal, seconds):
    """What it writes until it is quiet for so long."""
    text = b""
    while select.select([terminal], [], [], seconds)[0]:
        try:
            part = os.read(terminal, 4096)
        except OSError:
            return text
        if not part:
            return text
        text += part
    return text


child, terminal = pty.fork()
if child == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
seen = everything(terminal, 1.5)
for key in sys.argv[1].split():
    if key == ",":
        time.sleep(0.5)
    elif key == "CONT":
        os.kill(child, signal.SIGCONT)
    else:
        os.write(terminal, KEYS.get(key, key.encode() + b"\n"))
    seen += everything(terminal, 0.7)
seen += everything(terminal, 1.5)
print(seen.decode(errors="replace").replace("\r", ""))
deadline = time.time() + 10
while time.time() < deadline:
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        print("ended", os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
        break
    time.sleep(0.05)
else:
    print("does not end")
    os.kill(child, signal.SIGKILL)
