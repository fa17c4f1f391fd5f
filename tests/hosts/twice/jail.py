"""Leaks on after what it started in cannot be reached by name any more: a new root, a deleted folder, another user."""

import os
import sys
import time

kept = []


def forgetful():
    kept.append(bytearray(100 * 1024))


time.sleep(1)
os.makedirs("jail", exist_ok=True)
if sys.argv[1] == "chroot":
    os.chroot("jail")
    os.chdir("/")
elif sys.argv[1] == "setuid":
    os.setgid(65534)
    os.setuid(65534)
elif sys.argv[1] == "deleted":
    os.chdir("jail")
    os.rmdir("../jail")
end = time.time() + 4
while time.time() < end:
    forgetful()
    time.sleep(0.05)
print("ended well")
