"""The JVM's part: every message goes through Gson on a Java thread. The leak that can be planted is in Java."""

import jpype


def start_jvm(hosts):
    # As small as an Android app's heap; the young generation small too, so that it is collected every few seconds.
    jpype.startJVM("-Xmx256m", "-Xmn8m", classpath=[str(hosts / "relay"), str(hosts / "gson.jar")])


class Archive:
    def __init__(self, leak_rate):
        self.worker = jpype.JClass("relay.Worker")(leak_rate)
        self.worker.start()

    def on_message(self, text):
        self.worker.offer(text.decode())

    def kept_bytes(self):
        return int(jpype.JClass("relay.Archive").keptBytes())
