"""Reticulum and LXMF in one process: messages are packed, signed, encrypted, decrypted, unpacked, and their signatures
checked. Without a network."""

import atexit
import pathlib
import shutil
import tempfile

import LXMF
import RNS

from measured import measure

CONFIG = """
[reticulum]
enable_transport = no
share_instance = no
[logging]
loglevel = 0
[interfaces]
"""

folder = tempfile.mkdtemp(prefix="bench-")
# Registered before Reticulum's own handlers, which still write into it, so it runs after them.
atexit.register(shutil.rmtree, folder, ignore_errors=True)
pathlib.Path(folder, "config").write_text(CONFIG, encoding="ascii")
RNS.Reticulum(configdir=folder, loglevel=0)


def destination(identity, direction):
    made = RNS.Destination(identity, direction, RNS.Destination.SINGLE, "lxmf", "delivery")
    RNS.Identity.remember(RNS.Identity.get_random_hash(), made.hash, identity.get_public_key())
    return made


sender, receiver = RNS.Identity(), RNS.Identity()
source = destination(sender, RNS.Destination.IN)
target = destination(receiver, RNS.Destination.OUT)


def message(number):
    fields = {1: number, 2: [b"attachment", "note %d" % number]}
    sent = LXMF.LXMessage(target, source, "message %d, as long as most of them are" % number, "title", fields=fields)
    sent.pack()
    received = LXMF.LXMessage.unpack_from_bytes(receiver.decrypt(target.encrypt(sent.packed)))
    assert received.signature_validated
    return received


def work(rounds):
    for number in range(rounds):
        message(number)


measure(work)
