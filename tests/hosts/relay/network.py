"""Reticulum and LXMF over loopback with a peer in a process of its own, which answers every message."""

import atexit
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import LXMF
import RNS

CONFIG = """
[reticulum]
enable_transport = no
share_instance = no
[logging]
loglevel = 0
[interfaces]
  [[Loopback]]
    type = {kind}
    enabled = yes
    {address}
"""

#: Seconds within which the two must have found each other.
PATIENCE = 20


def start(folder, kind, address):
    """Starts Reticulum and a message router, and gives the router with its own destination."""
    pathlib.Path(folder, "config").write_text(CONFIG.format(kind=kind, address=address))
    RNS.Reticulum(configdir=str(folder), loglevel=0)
    router = LXMF.LXMRouter(storagepath=str(pathlib.Path(folder, "messages")))
    return router, router.register_delivery_identity(RNS.Identity())


def destination_of(public_key):
    """The destination of whoever has this key."""
    identity = RNS.Identity(create_keys=False)
    identity.load_public_key(public_key)
    return RNS.Destination(identity, RNS.Destination.OUT, RNS.Destination.SINGLE, "lxmf", "delivery")


def wait_for_path(destination):
    deadline = time.monotonic() + PATIENCE
    while not RNS.Transport.has_path(destination.hash):
        if time.monotonic() > deadline:
            raise TimeoutError("no path to the other process")
        time.sleep(0.02)


def send(router, destination, source, text, on_receipt=None):
    message = LXMF.LXMessage(destination, source, text, desired_method=LXMF.LXMessage.OPPORTUNISTIC)
    if on_receipt is not None:
        message.register_delivery_callback(on_receipt)
    router.handle_outbound(message)


class Network:
    def __init__(self, on_delivery, on_receipt):
        folder = tempfile.mkdtemp(prefix="relay-")
        # Registered before the network's own handlers, which still write into it, so it runs after them.
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        port = free_port()
        self.peer = subprocess.Popen(
            [sys.executable, str(pathlib.Path(__file__).with_name("peer.py")), str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        peer_key = bytes.fromhex(self.peer.stdout.readline())
        self.router, self.source = start(
            folder, "TCPClientInterface", f"target_host = 127.0.0.1\n    target_port = {port}"
        )
        self.router.register_delivery_callback(on_delivery)
        self.on_receipt = on_receipt
        self.destination = destination_of(peer_key)
        self.peer.stdin.write(self.source.identity.get_public_key().hex() + "\n")
        self.peer.stdin.flush()
        self.router.announce(self.source.hash)
        wait_for_path(self.destination)
        self.peer.stdout.readline()

    def send(self, text):
        send(self.router, self.destination, self.source, text, self.on_receipt)

    def close(self):
        """Ends the peer; the router and Reticulum end with the process."""
        self.peer.stdin.close()
        try:
            self.peer.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.peer.kill()
            self.peer.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
