package io.leakline.android

import com.example.QueueProbe
import io.leakline.Config
import io.leakline.Gauges
import io.leakline.Layer
import io.leakline.Leakline
import io.leakline.Probe
import io.leakline.Snapshot
import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Assume.assumeTrue
import org.junit.Before
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import java.io.File
import java.util.concurrent.ConcurrentLinkedQueue
import org.robolectric.annotation.Config as Robolectric

/** Call sites and probes as an app in Kotlin has them, on Android's own classes and with the real native library. */
@RunWith(RobolectricTestRunner::class)
@Robolectric(sdk = [35], manifest = Robolectric.NONE)
class KotlinTest {
    private val queue = ConcurrentLinkedQueue<ByteArray>()
    private val probes = mutableListOf<Probe>()

    @Before
    fun library() {
        val library = System.getProperty("leakline.test.library", "")
        assumeTrue("no native library for this machine", File(library).isFile)
        System.setProperty("leakline.library", library)
    }

    @After
    fun stop() {
        Leakline.stop()
        probes.forEach(Leakline::removeProbe)
        System.clearProperty("leakline.library")
    }

    private fun add(probe: Probe) = Leakline.addProbe(probe.also { probes += it })

    private fun start(): App {
        val app = App.debuggable(true)
        assertTrue(Leakline.start(app, Config().interval("1s").set("logcat.target", "off")))
        return app
    }

    /** A busy machine makes a probe late, which is told and left out; the next reading has it. */
    private fun snapshotWith(gauge: String): Snapshot =
        generateSequence { Leakline.snapshotNow() }.take(50).first { gauge in it.gauges() }

    @Test
    fun aProbeInKotlinIsRead() {
        add(QueueProbe(queue))
        queue += ByteArray(1000)
        queue += ByteArray(500)
        start()
        val gauges = snapshotWith("jvm.queue_length").gauges()
        assertEquals(2.0, gauges["jvm.queue_length"])
        assertEquals(1500.0, gauges["jvm.queue_bytes"])
    }

    @Test
    fun anObjectIsAProbeTooAndWhatItThrowsIsItsOwnLoss() {
        add(QueueProbe(queue))
        add(object : Probe {
            override fun name() = "broken"

            override fun layer() = Layer.PROCESS

            override fun read(into: Gauges): Unit = error("no luck")
        })
        start()
        assertEquals(0.0, snapshotWith("jvm.queue_length").gauges()["jvm.queue_length"])
    }

    @Test
    fun marksAndStatisticsAreAskedForAsInJava() {
        assertNull(Leakline.stats())
        Leakline.mark("nobody hears it")
        val app = start()
        listOf("reconnect", "reconnect again").forEach(Leakline::mark)
        assertTrue(snapshotWith("process.resident_bytes").gauges().getValue("process.resident_bytes") > 0)
        val peak = Leakline.stats()?.peaks()?.get("process.resident_bytes")
        assertTrue("$peak", peak != null && peak > 0)
        Leakline.stop()
        val recorded = File(app.filesDir, "leakline/main.leak").readText(Charsets.ISO_8859_1)
        assertTrue("reconnect again" in recorded)
        assertTrue("nobody hears it" !in recorded)
    }
}
