"""Closes what it did not open, as daemons do, and opens files of its own, which get those numbers."""

import os
import sys
import time


def closed_by(way):
    if way == "closerange":
        os.closerange(3, 4096)
    elif way == "loop":
        for number in range(3, 1024):
            try:
                os.close(number)
            except OSError:
                pass
    elif way == "listed":
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2:
                try:
                    os.close(int(name))
                except OSError:
                    pass
    elif way == "daemon":
        import daemon

        context = daemon.DaemonContext(detach_process=False, stdout=sys.stdout, stderr=sys.stderr, working_directory=".")
        context.open()


time.sleep(1.2)
closed_by(sys.argv[1])
files = [open(f"own-{number}.txt", "w+") for number in range(16)]
kept = []


def forgetful():
    kept.append(bytearray(200_000))


for turn in range(60):
    forgetful()
    for file in files:
        file.write(f"{turn}\n")
        file.flush()
    time.sleep(0.05)
for file in files:
    file.seek(0)
    if file.read() != "".join(f"{turn}\n" for turn in range(60)):
        print(file.name, "was changed")
print("ended well", len(kept))
