//! Which classes are there as long as the program, and which can be unloaded with their loader.
//! Goes by the loader's class: whether somebody could let go of it, no dump tells.

use std::io::{Read, Seek};

use crate::dump::Dump;
use crate::error::HprofError;
use crate::record::HeapRecord;

/// Loaders that nobody lets go of.
const LASTING: [&str; 7] = [
    "jdk.internal.loader.ClassLoaders$AppClassLoader",
    "jdk.internal.loader.ClassLoaders$PlatformClassLoader",
    "jdk.internal.loader.ClassLoaders$BootClassLoader",
    "sun.misc.Launcher$AppClassLoader",
    "sun.misc.Launcher$ExtClassLoader",
    "java.lang.BootClassLoader",
    "dalvik.system.PathClassLoader",
];

impl<R: Read + Seek> Dump<R> {
    /// The class of the loader that `class` can be unloaded with; none where the class lasts.
    pub(crate) fn passing_loader(&mut self, class: u64) -> Result<Option<u64>, HprofError> {
        let loader = self.scan.classes.get(&class).map_or(0, |class| class.loader);
        if loader == 0 {
            return Ok(None);
        }
        if let Some(known) = self.loaders.get(&loader) {
            return Ok(*known);
        }
        let passing = match self.object_of(loader)? {
            Some(HeapRecord::Instance { class, .. }) => {
                let lasts = LASTING.contains(&&*self.class_name(class)?);
                if lasts { None } else { Some(class) }
            }
            _ => Some(loader),
        };
        self.loaders.insert(loader, passing);
        Ok(passing)
    }
}
