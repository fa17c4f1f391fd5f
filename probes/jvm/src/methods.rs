//! What is known of Java methods whose frames were kept: names and lines, copied while the method is there, because
//! classes can be unloaded.
//!
//! Bounded in bytes: programs that generate classes (proxies, lambdas, templates) have new methods for as long as they
//! run. At a reading, those that were not met since the one before are forgotten if all of them take more than half of
//! the bound; a new method for which there is no room until then has no name. No number is given twice: what was told
//! once under a number stays true, and a number whose method was forgotten is told as just that.

use std::collections::HashMap;

use leakline_probing::joined::Told;

/// What a method takes beside its names and lines: entries in two maps at two thirds of their load, and three blocks.
const METHOD_BYTES: usize = 200;
/// Stands for a method that was forgotten.
const FORGOTTEN: &str = "<more Java methods than leakline keeps>";
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
#[derive(Debug)]
pub(crate) struct Methods {
    numbers: Option<HashMap<u64, u32>>,
    known: Option<HashMap<u32, Known>>,
    next: u32,
    held: usize,
    most: usize,
}

#[derive(Debug)]
struct Known {
    id: u64,
    /// `None`: it was met, and not looked up yet.
    method: Option<Method>,
    /// Whether it was met since the last reading.
    is_met: bool,
}

impl Known {
    fn bytes(&self) -> usize {
        let of = |method: &Method| {
            method.function.len() + method.file.len() + std::mem::size_of_val(&*method.lines)
        };
        METHOD_BYTES + self.method.as_ref().map_or(0, of)
    }
}

impl Methods {
    /// None, with room for `most` bytes.
    pub(crate) const fn within(most: usize) -> Self {
        Self { numbers: None, known: None, next: 0, held: 0, most }
    }

    /// Whether the method is known. One that is not is noted among the [unknown](Methods::unknown), as long as there is
    /// room; beyond that, it counts as known, and has no number.
    pub(crate) fn knows(&mut self, id: u64) -> bool {
        match self.index(id) {
            Some(index) => match self.known.as_mut().and_then(|known| known.get_mut(&index)) {
                Some(known) => {
                    known.is_met = true;
                    known.method.is_some()
                }
                None => false,
            },
            None if self.held < self.most => {
                self.add(id, None);
                false
            }
            None => true,
        }
    }

    /// Adds a method, or what it is called.
    pub(crate) fn add(&mut self, id: u64, mut method: Option<Method>) {
        let room = self.most.saturating_sub(self.held);
        if let Some(method) = &mut method
            && std::mem::size_of_val(&*method.lines) > room
        {
            // Without room for all of it, what it is called is worth more than where in it.
            method.lines = Box::default();
        }
        match self.index(id) {
            Some(index) => {
                if let Some(place) = self.known.as_mut().and_then(|known| known.get_mut(&index)) {
                    self.held -= place.bytes();
                    place.method = method;
                    self.held += place.bytes();
                }
            }
            None if self.held >= self.most => {}
            None => {
                let new = Known { id, method, is_met: true };
                self.held += new.bytes();
                self.known.get_or_insert_default().insert(self.next, new);
                self.numbers.get_or_insert_default().insert(id, self.next);
                self.next = self.next.wrapping_add(1);
            }
        }
    }

    /// To be called at each reading: forgets methods that were not met since the last one, if room is getting short.
    /// Whether any was.
    pub(crate) fn forget_unmet(&mut self) -> bool {
        let (Some(known), Some(numbers)) = (&mut self.known, &mut self.numbers) else { return false };
        let before = known.len();
        if self.held > self.most / 2 {
            let mut held = 0;
            known.retain(|_, known| {
                if known.is_met {
                    held += known.bytes();
                } else {
                    numbers.remove(&known.id);
                }
                known.is_met
            });
            self.held = held;
        }
        known.values_mut().for_each(|known| known.is_met = false);
        known.len() < before
    }

    /// The number of a frame.
    pub(crate) fn number(&self, id: u64, place: i64) -> u64 {
        let place = u32::try_from(place).unwrap_or(NO_PLACE);
        self.index(id).map_or(NO_NUMBER, |index| u64::from(index) << 32 | u64::from(place))
    }

    /// What a number stands for; `None`: nothing, or a method that was not looked up yet.
    pub(crate) fn tell(&self, number: u64) -> Option<Told> {
        if number == NO_NUMBER {
            return None;
        }
        let Some(known) = self.known.as_ref().and_then(|known| known.get(&((number >> 32) as u32))) else {
            return Some(Told { function: FORGOTTEN.to_owned(), file: String::new(), line: 0 });
        };
        let method = known.method.as_ref()?;
        Some(Told {
            function: method.function.to_string(),
            file: method.file.to_string(),
            line: method.line(number as u32),
        })
    }

    /// The methods of which nothing is known yet.
    pub(crate) fn unknown(&self) -> Vec<u64> {
        let unknown = self.known.iter().flatten().filter(|(_, known)| known.method.is_none());
        unknown.map(|(_, known)| known.id).collect()
    }

    fn index(&self, id: u64) -> Option<u32> {
        self.numbers.as_ref()?.get(&id).copied()
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
        let mut methods = Methods::within(1 << 20);
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
        let mut methods = Methods::within(1 << 20);
        assert!(!methods.knows(7));
        let number = methods.number(7, 0);
        assert_eq!((methods.tell(number), methods.unknown()), (None, vec![7]));
        methods.add(7, Some(Method::default()));
        assert!(methods.tell(number).is_some() && methods.unknown().is_empty());
        assert!(methods.knows(7));
    }

    #[test]
    fn a_million_methods_that_are_met_once_take_no_more_than_the_bound_and_no_number_comes_twice() {
        const MOST: usize = 1 << 20;
        let mut methods = Methods::within(MOST);
        let mut numbers = 0;
        let method = |id: u64| {
            let lines = [(0, 1); 10].into();
            Some(Method { function: format!("app.$Proxy{id}.run").into(), lines, ..Method::default() })
        };
        for id in 0..1_000_000_u64 {
            // One in a thousand is met all the time.
            let id = if id % 1000 == 0 { 0 } else { id };
            if !methods.knows(id) {
                methods.add(id, method(id));
            }
            let number = methods.number(id, 0);
            if id > 0 && number != NO_NUMBER {
                assert!((number >> 32) as u32 > numbers);
                numbers = (number >> 32) as u32;
            }
            if id % 1000 == 999 {
                assert!(methods.unknown().is_empty());
                methods.forget_unmet();
            }
            assert!(methods.held <= MOST + 512, "{id}: {}", methods.held);
        }
        assert!(methods.known.as_ref().is_some_and(|known| known.capacity() < 16_384));
        assert!(methods.number(0, 0) >> 32 == 0 && numbers > 500_000, "{numbers}");
        let told = methods.tell(1 << 32).map(|told| told.function);
        assert_eq!(told.as_deref(), Some(FORGOTTEN));
    }

    #[test]
    fn more_methods_than_there_is_room_for_have_no_number() {
        let mut methods = Methods::within(100_000);
        for id in 0..=1_000_u64 {
            methods.add(id, Some(Method { lines: [(0, 1); 10].into(), ..Method::default() }));
        }
        assert_eq!(methods.number(1_000, 0), NO_NUMBER);
        assert!(methods.knows(1_000), "or its paths would wait for ever");
        assert_eq!(methods.tell(NO_NUMBER), None);
    }
}
