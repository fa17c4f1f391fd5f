"""The other side of the relay's network: answers every message. Ends when its standard input does.

Speaks over its standard streams first: prints its public key, reads the relay's, prints `ready` once it can answer.
"""

import os
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from relay import network  # noqa: E402


def main():
    with tempfile.TemporaryDirectory(prefix="relay-peer-") as folder:
        port = sys.argv[1]
        router, source = network.start(
            folder, "TCPServerInterface", f"listen_ip = 127.0.0.1\n    listen_port = {port}"
        )
        print(source.identity.get_public_key().hex(), flush=True)
        relay = network.destination_of(bytes.fromhex(sys.stdin.readline()))
        router.register_delivery_callback(
            lambda message: network.send(router, relay, source, "answer to " + message.content_as_string())
        )
        router.announce(source.hash)
        network.wait_for_path(relay)
        print("ready", flush=True)
        sys.stdin.read()
    # Whatever the network still has to say, the relay does not wait for it.
    os._exit(0)


main()
