//! How a call path tells that Java was given a Python object there: its first frame says that an object was made of a class by
//! which a bridge has Java hold one.
//! Knows the bridges by the names of their classes and folders, and nothing else of them.

use std::sync::Arc;

use super::site::{Frame, Site};

/// Classes of which a bridge makes one object for each Python object that it lets Java have, and which lives as long as Java
/// holds that: JPype's, jep's, Chaquopy's.
pub const HOLDERS_OF_PYTHON: [&str; 3] =
    ["org.jpype.ref.JPypeReference", "jep.python.PyPointer", "com.chaquo.python.PyObject"];

/// Stands before a class's name in the frame that says that an object was made.
const MADE: &str = "new ";
/// How the names of the bridges' own Java methods begin.
const PACKAGES: [&str; 3] = ["org.jpype.", "jep.", "com.chaquo.python."];
/// Folders of the bridges' own Python code.
const FOLDERS: [&str; 3] = ["/jpype/", "/jep/", "/chaquopy/"];

impl Frame {
    /// Says that an object of this class was made: the first frame of a path.
    pub fn made(class: &str) -> Self {
        Self::new(format!("{MADE}{class}"), "", 0)
    }

    /// Whether a bridge runs here, and nobody's program.
    fn is_of_bridge(&self) -> bool {
        self.made_class().is_some()
            || PACKAGES.iter().any(|package| self.function.starts_with(package))
            || FOLDERS.iter().any(|folder| self.file.contains(folder))
    }

    fn made_class(&self) -> Option<&str> {
        self.function.strip_prefix(MADE).filter(|_| self.file.is_empty())
    }
}

impl Site {
    /// Whether Java was given a Python object here.
    pub fn lets_java_have_python(&self) -> bool {
        let made = self.frames().first().and_then(|first| first.made_class());
        made.is_some_and(|class| HOLDERS_OF_PYTHON.contains(&class))
    }

    /// The innermost frame that is not a bridge's own; `None` where there is none.
    pub fn outside_of_bridges(&self) -> Option<&Arc<Frame>> {
        self.frames().iter().find(|frame| !frame.is_of_bridge())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames as `function file`, innermost first; the one that is to blame.
    fn check(frames: &[(&str, &str)], expected: Option<&str>) {
        let frames: Vec<Arc<Frame>> =
            frames.iter().map(|(function, file)| Arc::new(Frame::new(*function, *file, 1))).collect();
        let site = Site::call_path(frames, false);
        let found = site.outside_of_bridges().filter(|_| site.lets_java_have_python());
        assert_eq!(found.map(|frame| &*frame.function), expected);
    }

    #[test]
    fn the_first_frame_that_is_nobodys_bridge_is_to_blame() {
        let jpype = [
            ("new org.jpype.ref.JPypeReference", ""),
            ("org.jpype.ref.JPypeReferenceQueue.registerRef", "JPypeReferenceQueue.java"),
            ("__new__", "/usr/lib/python3/site-packages/jpype/_jproxy.py"),
            ("listen", "/app/service.py"),
        ];
        check(&jpype, Some("listen"));
        check(&jpype[1..], None);
        let jep = [
            ("new jep.python.PyPointer", ""),
            ("jep.python.PyObject.<init>", "PyObject.java"),
            ("jep.Jep.getValue", "Jep.java"),
            ("app.Bridge.take", "app/Bridge.kt"),
        ];
        check(&jep, Some("app.Bridge.take"));
        check(&jep[..3], None);
        check(&[("new java.lang.String", ""), ("app.Bridge.take", "app/Bridge.kt")], None);
    }

    #[test]
    fn what_is_made_has_a_frame_of_its_own() {
        let site = Site::call_path(vec![Arc::new(Frame::made(HOLDERS_OF_PYTHON[1]))], false);
        assert!(site.lets_java_have_python() && site.outside_of_bridges().is_none());
    }
}
