"""A message relay: CPython, a JVM (through JPype) and a C library (through ctypes) in one process, all at work.

Reticulum and LXMF exchange messages with a second process over loopback; every message goes through Gson in the JVM
and through a codec in C. One leak can be planted. Knows nothing of leakline.
"""

import argparse
import pathlib
import signal
import sys
import threading
import time

HOSTS = pathlib.Path(__file__).resolve().parents[2] / ".leakline" / "hosts"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--leak", choices=["none", "python", "jvm", "native"], default="none", help="where")
    parser.add_argument("--rate", type=int, default=1 << 20, help="bytes per second (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=14, help="how long it runs (default: %(default)s)")
    parser.add_argument("--messages", type=float, default=20, help="messages per second (default: %(default)s)")
    return parser.parse_args()


def main():
    options = arguments()
    from relay import archive, codec, inbox, network

    archive.start_jvm(HOSTS)
    rate_of = {layer: options.rate if options.leak == layer else 0 for layer in ("python", "jvm", "native")}
    history = codec.History(HOSTS, rate_of["native"])
    store = archive.Archive(rate_of["jvm"])
    received = inbox.Inbox(rate_of["python"], [history.on_message, store.on_message])
    relay = network.Network(on_delivery=received.on_delivery, on_receipt=received.on_receipt)

    # After the JVM and the network, which each install handlers of their own: this program ends as others do.
    ending = threading.Event()
    status = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: (status.append(128 + number), ending.set()))

    started = time.monotonic()
    sent = 0
    while not ending.is_set() and (passed := time.monotonic() - started) < options.seconds:
        if sent <= passed * options.messages:
            relay.send(f"message {sent}: " + "all is well. " * 12)
            sent += 1
        ending.wait(max(0.0, sent / options.messages - (time.monotonic() - started)))
    passed = time.monotonic() - started
    relay.close()
    kept = {"python": received.kept_bytes(), "jvm": store.kept_bytes(), "native": history.kept_bytes()}
    print(
        f"relay: {received.delivered} of {sent} messages answered in {passed:.1f} s;",
        ", ".join(f"{layer} keeps {size / 2**20:.1f} MiB" for layer, size in kept.items()),
        flush=True,
    )
    return status[0] if status else 0


if __name__ == "__main__":
    sys.exit(main())
