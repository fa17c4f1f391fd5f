//! Whose code a frame is: of the frames of a native call path, some stand for a runtime's code that ran there.
//! Goes by how leakline's own probes name frames, and never by a name that somebody chose for a function.

use std::sync::Arc;

use super::site::{Frame, Site};
use super::snapshot::Layer;

/// Ends of the names of source files that are compiled for a JVM.
const JAVA_SOURCES: [&str; 5] = [".java", ".kt", ".scala", ".groovy", ".clj"];
/// Beginnings of the names of Java's own classes.
const JAVA_LIBRARY: [&str; 5] = ["java.", "javax.", "jdk.", "sun.", "com.sun."];

impl Frame {
    /// The runtime whose code runs here; `None` for machine code, and for words that stand in a frame's place.
    pub fn runtime(&self) -> Option<Layer> {
        if self.native.is_some() || self.function.is_empty() {
            return None;
        }
        // Java's source files have no name, that of a source, or stand in the folders of the class's package.
        let is_in_package = || {
            let folder = self.file.rsplit_once('/').map(|(folder, _)| folder.replace('/', "."));
            folder.is_some_and(|folder| !folder.is_empty() && self.function.starts_with(&folder))
        };
        let is_java = self.file.is_empty() || JAVA_SOURCES.iter().any(|end| self.file.ends_with(end));
        Some(if is_java || is_in_package() { Layer::Jvm } else { Layer::Python })
    }

    /// Whether the method belongs to one of Java's own classes, by its name.
    pub fn is_of_java_itself(&self) -> bool {
        JAVA_LIBRARY.iter().any(|begin| self.function.starts_with(begin))
    }

    /// Whether the code belongs to its runtime's own library, which everybody calls.
    fn is_library(&self) -> bool {
        match self.runtime() {
            Some(Layer::Jvm) => self.file.is_empty() || self.is_of_java_itself(),
            Some(Layer::Python) => {
                let library =
                    self.file.split_once("/lib/python").filter(|(_, rest)| !rest.contains("-packages/"));
                library.is_some() || self.file.starts_with("<frozen ")
            }
            _ => false,
        }
    }
}

impl Site {
    /// The runtime other than `layer` whose code has called the innermost code of `layer`, and the innermost of its frames;
    /// one outside of its own library, where there is any. `None` where no runtime has.
    pub fn caller_of(&self, layer: Layer) -> Option<(Layer, &Arc<Frame>)> {
        let frames = self.frames().iter().filter_map(|frame| Some((frame.runtime()?, frame)));
        let mut called = frames.skip_while(|(runtime, _)| *runtime == layer).peekable();
        let innermost = *called.peek()?;
        let own = called.take_while(|(runtime, _)| *runtime == innermost.0);
        Some(own.into_iter().find(|(_, frame)| !frame.is_library()).unwrap_or(innermost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NativePlace;

    #[test]
    fn a_frame_is_that_of_the_runtime_whose_code_runs_there() {
        let native = NativePlace { build_id: "0a".into(), address: 7 };
        let resolved = Frame { line: 3, ..Frame::in_object("hold", "src/leak.c", native) };
        let cases = [
            (Frame::new("Buffer.fill", "/app/codec.py", 7), Some(Layer::Python)),
            (Frame::new("<module>", "<string>", 1), Some(Layer::Python)),
            (Frame::new("com.example.Codec.open", "com/example/Codec.java", 7), Some(Layer::Jvm)),
            (Frame::new("CodecKt.open", "Codec.kt", 7), Some(Layer::Jvm)),
            (Frame::new("Codec$$Lambda$2.accept", "", 0), Some(Layer::Jvm)),
            (
                Frame::new("java.lang.invoke.Some$Holder.invoke", "java/lang/invoke/Some$Holder", 0),
                Some(Layer::Jvm),
            ),
            (Frame::new("", "<code of no object at 0x7f>", 0), None),
            (resolved, None),
        ];
        for (frame, expected) in cases {
            assert_eq!(frame.runtime(), expected, "{frame:?}");
        }
    }

    #[test]
    fn the_innermost_frame_of_another_runtime_is_the_caller() {
        let native = Frame::in_object("malloc", "libc.so", NativePlace { build_id: "0a".into(), address: 7 });
        let java = Frame::new("Codec.open", "Codec.java", 7);
        let inflater = Frame::new("java.util.zip.Inflater.inflate", "java/util/zip/Inflater.java", 7);
        let python = Frame::new("run", "/app/a.py", 9);
        let library = Frame::new("run", "/usr/lib/python3.11/asyncio/runners.py", 9);
        let check = |frames: &[&Frame], layer, expected: Option<&Frame>| {
            let frames: Vec<_> = frames.iter().map(|frame| Arc::new((*frame).clone())).collect();
            let site = Site::call_path(frames, false);
            assert_eq!(site.caller_of(layer).map(|(_, frame)| &**frame), expected);
        };
        check(&[&native, &java, &python], Layer::Native, Some(&java));
        check(&[&java, &python, &java], Layer::Jvm, Some(&python));
        check(&[&native, &inflater, &java], Layer::Native, Some(&java));
        check(&[&native, &inflater, &python], Layer::Native, Some(&inflater));
        check(&[&native, &library, &python, &library], Layer::Native, Some(&python));
        check(&[&native], Layer::Native, None);
        check(&[&java], Layer::Jvm, None);
    }
}
