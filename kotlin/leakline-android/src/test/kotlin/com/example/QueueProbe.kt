package com.example

import io.leakline.Gauges
import io.leakline.Layer
import io.leakline.Probe

/** A probe of an app's own: what waits in a queue. Told to leakline by `Leakline.addProbe(QueueProbe(queue))`, once. */
class QueueProbe(private val queue: Collection<ByteArray>) : Probe {
    override fun name() = "queue"

    override fun layer() = Layer.JVM

    override fun read(into: Gauges) {
        into.count("queue_length", queue.size.toLong())
        into.bytes("queue_bytes", queue.sumOf { it.size.toLong() })
    }
}
