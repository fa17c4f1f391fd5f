//! What is known of Java methods whose frames were kept: names and lines, copied while the method is there, because
//! classes can be unloaded.
//! Bounded, and forgets nothing: what was told once under a number stays true.

use std::collections::HashMap;

use leakline_probing::joined::Told;

/// Most methods; a program that calls native code from more places than that has frames without names.
const MAX_METHODS: usize = 50_000;
/// Most entries of line tables in all, of eight bytes each.
const MAX_LINES: usize = 1 << 20;
/// The number of a frame that is not told.
pub(crate) const NO_NUMBER: u64 = u64::MAX;
/// The place of frames in native methods.
const NO_PLACE: u32 = u32::MAX;

/// A method in words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Method {
    /// With its class: `com.example.Bridge.open`.
    pub(crate) function: Box<str>,
    /// With its package: `com/example/Bridge.java`; empty where unknown.
    pub(crate) file: Box<str>,
    /// Where in the code which line begins.
    pub(crate) lines: Box<[(u32, u32)]>,
}

impl Method {
    /// From the class's signature (`Lcom/example/Bridge;`) and its source file (`Bridge.java`).
    pub(crate) fn new(signature: &str, name: &str, source: Option<&str>, lines: Box<[(u32, u32)]>) -> Self {
        let class = signature.strip_prefix('L').unwrap_or(signature);
        let class = class.strip_suffix(';').unwrap_or(class);
        let file = match (class.rsplit_once('/'), source) {
            (_, None) => String::new(),
            // Some compilers write a path.
            (_, Some(source)) if source.contains('/') => source.to_owned(),
            (Some((package, _)), Some(source)) => format!("{package}/{source}"),
            (None, Some(source)) => source.to_owned(),
        };
        Self { function: format!("{}.{name}", class.replace('/', ".")).into(), file: file.into(), lines }
    }

    /// One that is gone before it was asked for.
    pub(crate) fn nameless() -> Self {
        Self { function: "<unloaded Java method>".into(), ..Self::default() }
    }

    fn line(&self, place: u32) -> u32 {
        let begun = self.lines.iter().filter(|(start, _)| place != NO_PLACE && *start <= place);
        begun.max_by_key(|(start, _)| *start).map_or(0, |(_, line)| *line)
    }
}

/// Methods by the JVM's numbers for them and by ours.
#[derive(Debug, Default)]
pub(crate) struct Methods {
    indexes: Option<HashMap<u64, u32>>,
    methods: Vec<Option<Method>>,
    lines: usize,
}

impl Methods {
    pub(crate) const fn new() -> Self {
        Self { indexes: None, methods: Vec::new(), lines: 0 }
    }

    /// Whether the method is known. One that is not is noted among the [unknown](Methods::unknown), as long as there is
    /// room; beyond that, it counts as known, and has no number.
    pub(crate) fn knows(&mut self, id: u64) -> bool {
        match self.index(id) {
            Some(index) => self.methods.get(index as usize).is_some_and(Option::is_some),
            None if self.methods.len() < MAX_METHODS => {
                self.add(id, None);
                false
            }
            None => true,
        }
    }

    /// Adds a method, or what it is called.
    pub(crate) fn add(&mut self, id: u64, mut method: Option<Method>) {
        if let Some(method) = &mut method {
            if self.lines + method.lines.len() > MAX_LINES {
                method.lines = Box::default();
            }
            self.lines += method.lines.len();
        }
        let indexes = self.indexes.get_or_insert_default();
        match indexes.get(&id) {
            Some(index) => {
                if let Some(place) = self.methods.get_mut(*index as usize) {
                    *place = method;
                }
            }
            None if self.methods.len() >= MAX_METHODS => {}
            None => {
                indexes.insert(id, self.methods.len() as u32);
                self.methods.push(method);
            }
        }
    }

    /// The number of a frame.
    pub(crate) fn number(&self, id: u64, place: i64) -> u64 {
        let place = u32::try_from(place).unwrap_or(NO_PLACE);
        self.index(id).map_or(NO_NUMBER, |index| u64::from(index) << 32 | u64::from(place))
    }

    /// What a number stands for.
    pub(crate) fn tell(&self, number: u64) -> Option<Told> {
        let method = self.methods.get((number >> 32) as usize)?.as_ref()?;
        Some(Told {
            function: method.function.to_string(),
            file: method.file.to_string(),
            line: method.line(number as u32),
        })
    }

    /// The methods of which nothing is known yet.
    pub(crate) fn unknown(&self) -> Vec<u64> {
        let unknown = |index: &u32| self.methods.get(*index as usize).is_some_and(Option::is_none);
        let ids = self.indexes.iter().flatten().filter(|(_, index)| unknown(index));
        ids.map(|(id, _)| *id).collect()
    }

    fn index(&self, id: u64) -> Option<u32> {
        self.indexes.as_ref()?.get(&id).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_words(signature: &str, source: Option<&str>, function: &str, file: &str) {
        let method = Method::new(signature, "open", source, Box::default());
        assert_eq!((&*method.function, &*method.file), (function, file), "{signature} {source:?}");
    }

    #[test]
    fn a_method_is_named_with_its_class_and_its_file_with_the_package() {
        check_words(
            "Lcom/example/Bridge;",
            Some("Bridge.java"),
            "com.example.Bridge.open",
            "com/example/Bridge.java",
        );
        check_words(
            "Lcom/example/Bridge$1;",
            Some("Bridge.java"),
            "com.example.Bridge$1.open",
            "com/example/Bridge.java",
        );
        check_words("LBridge;", Some("Bridge.java"), "Bridge.open", "Bridge.java");
        check_words("La/B;", Some("src/a/B.kt"), "a.B.open", "src/a/B.kt");
        check_words("La/B;", None, "a.B.open", "");
        check_words("", None, ".open", "");
    }

    /// `lines` are `start:line`.
    fn check_line(lines: &str, place: i64, line: u32) {
        let number = |text: &str| text.parse().expect("a number");
        let lines = lines.split_whitespace().map(|entry| {
            let (start, line) = entry.split_once(':').expect("two numbers");
            (number(start), number(line))
        });
        let mut methods = Methods::new();
        methods.add(7, Some(Method { lines: lines.collect(), ..Method::default() }));
        let told = methods.tell(methods.number(7, place)).expect("a method");
        assert_eq!(told.line, line, "{place}");
    }

    #[test]
    fn a_place_has_the_line_that_began_last_before_it() {
        check_line("0:10 5:11 9:12", 0, 10);
        check_line("0:10 5:11 9:12", 8, 11);
        check_line("9:12 0:10 5:11", 8, 11);
        check_line("0:10 5:11 9:12", 1000, 12);
        check_line("3:10", 2, 0);
        check_line("", 2, 0);
        check_line("0:10", -1, 0);
    }

    #[test]
    fn what_is_met_first_is_learned_later() {
        let mut methods = Methods::new();
        assert!(!methods.knows(7));
        let number = methods.number(7, 0);
        assert_eq!((methods.tell(number), methods.unknown()), (None, vec![7]));
        methods.add(7, Some(Method::default()));
        assert!(methods.tell(number).is_some() && methods.unknown().is_empty());
        assert!(methods.knows(7));
    }

    #[test]
    fn there_are_so_many_methods_and_no_more() {
        let mut methods = Methods::new();
        for id in 0..=MAX_METHODS as u64 {
            methods.add(id, Some(Method { lines: [(0, 1); 100].into(), ..Method::default() }));
        }
        assert_eq!(methods.number(MAX_METHODS as u64, 0), NO_NUMBER);
        assert!(methods.knows(MAX_METHODS as u64), "or its paths would wait for ever");
        assert_eq!(methods.tell(NO_NUMBER), None);
        assert!(methods.lines <= MAX_LINES);
        let last = methods.tell(methods.number(MAX_METHODS as u64 - 1, 5)).map(|told| told.line);
        assert_eq!(last, Some(0), "lines have a bound of their own");
    }
}
