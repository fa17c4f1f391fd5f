//! Reads the JVM that the host already has (probe `jvm`): HotSpot through its management beans, Android's runtime
//! through `Runtime` and `android.os.Debug`, anything else through `Runtime` alone.
//!
//! - The JVM is found through the loader when the host has one, before or after the agent; it is never linked.
//! - The lane's thread is in the JVM only while it reads, as a daemon. HotSpot's `System.exit` waits up to 300 ms for
//!   threads that are attached and idle in native code; one that is not attached costs the host's exit nothing.
//! - A JVM is left alone until it has started: HotSpot announces itself while it is still being built, and attaching
//!   to it then crashes it.
//! - What the reading itself adds (its own thread) is taken off the numbers.
//!
//! - Allocations of Java objects are sampled (`sites`) where the JVM offers it, and the JVM says when it ends (`closing`): the
//!   two events that are listened to.
//! - Call paths of the native heap go on in Java's frames (`joined`), by the tool interface (JVMTI): an environment
//!   that is asked for, as JNI allows, and not an agent that is loaded, at which newer JVMs print a warning. Android's
//!   runtime gives one to agents only (`tools`): until somebody attaches leakline as one, objects are not counted there.
//!
//! Never here: a class of the host's own, a class loader of the host's own, Python, or
//! a destructor that enters the JVM.

mod android;
mod closing;
mod env;
mod error;
mod gc;
mod global_refs;
mod histogram;
mod hotspot;
mod joined;
mod management;
mod methods;
mod places;
mod pools;
mod probe;
mod reckoned;
mod runtime;
mod sites;
mod tagged;

use leakline_probing::java::{jvmti, ready, tools, vm};

pub use closing::set_on_closing;
pub use histogram::HistogramOptions;
pub use probe::{JvmOptions, JvmProbe};
pub use sites::SitesOptions;
