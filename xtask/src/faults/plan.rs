//! What happens in one run, by its seed alone: which host, which faults it does to itself, which are done to it.
//! Starts nothing.

/// A program under load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Host {
    /// C, with eight threads or with one.
    C { threads: u32 },
    /// CPython, and a JVM in it where `jvm` says so.
    Python { jvm: bool },
    /// A JVM.
    Java,
}

impl Host {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::C { threads: 0 } => "c-single",
            Self::C { .. } => "c",
            Self::Python { jvm: false } => "python",
            Self::Python { jvm: true } => "both",
            Self::Java => "java",
        }
    }

    /// Starts that take long get fewer runs.
    fn of(random: &mut Random) -> Self {
        match random.below(20) {
            0..=8 => Self::C { threads: 8 },
            9..=11 => Self::C { threads: 0 },
            12..=15 => Self::Python { jvm: false },
            16 => Self::Python { jvm: true },
            _ => Self::Java,
        }
    }
}

/// A collector that is no good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Collector {
    Silent,
    Nonsense,
    Closes,
    /// Answers nothing, reads slowly, and dies.
    StallsAndDies,
    /// Nobody listens.
    Absent,
}

impl Collector {
    const ALL: [Self; 5] = [Self::Silent, Self::Nonsense, Self::Closes, Self::StallsAndDies, Self::Absent];
}

/// One run.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) host: Host,
    /// What it does to itself, as its words.
    pub(super) inside: Vec<String>,
    /// What is done to it, as the words of `inject`; to the watched one only what is about a watcher.
    pub(super) outside: Vec<String>,
    pub(super) collector: Option<Collector>,
    /// The writes into the recording that fail: first:count:errno.
    pub(super) writes: Option<String>,
    /// More options for `leakline run`.
    pub(super) options: Vec<String>,
}

const ENOSPC: u32 = 28;
const EIO: u32 = 5;
const MOST_SIGNAL: u64 = 64;
const SIGKILL: u64 = 9;
const SIGALRM: u64 = 14;
const SIGCHLD: u64 = 17;
const SIGSTOP: u64 = 19;

impl Plan {
    /// `faults` of the kinds that the host knows, its end among them; the others come on top.
    pub(super) fn new(seed: u64, faults: usize) -> Self {
        let mut random = Random(seed);
        let host = Host::of(&mut random);
        let mut inside: Vec<String> = (1..faults).map(|_| inner(host, &mut random)).collect();
        let ends = match host {
            Host::C { .. } => 11,
            Host::Python { .. } => 9,
            Host::Java => 5,
        };
        inside.push(format!("end:{}", random.below(ends)));
        let outside = (0..2 + random.below(4)).filter_map(|_| outer(host, &mut random)).collect();
        let collector = (random.below(3) == 0).then(|| Collector::ALL[random.index(Collector::ALL.len())]);
        let writes = (random.below(3) == 0).then(|| {
            let error = if random.below(2) == 0 { ENOSPC } else { EIO };
            format!("{}:{}:{error}", 1 + random.below(30), 1 + random.below(5))
        });
        let options = options(&mut random);
        Self { seed, host, inside, outside, collector, writes, options }
    }

    /// How many faults it has, at most: what is about a watcher counts only where there is one.
    pub(super) fn planned(&self) -> usize {
        self.inside.len() + usize::from(self.collector.is_some()) + usize::from(self.writes.is_some())
    }

    /// The kinds in it, for the table at the end.
    pub(super) fn kinds(&self) -> Vec<&str> {
        let kind = |word: &'_ str| word.len() - word.find(':').map_or(0, |colon| word.len() - colon);
        let mut kinds: Vec<&str> = self.inside.iter().map(|word| &word[..kind(word)]).collect();
        kinds.extend(self.collector.map(|_| "collector"));
        kinds.extend(self.writes.as_ref().map(|_| "recording"));
        kinds
    }
}

fn inner(host: Host, random: &mut Random) -> String {
    let upto = |random: &mut Random, most: u64| 1 + random.below(most);
    let kinds: &[&str] = match host {
        Host::C { .. } => &[
            "close",
            "close",
            "closes",
            "over",
            "signal",
            "signal",
            "signal",
            "ticking",
            "allocation",
            "allocation",
            "memory",
            "libraries",
            "threads",
            "write",
            "few_files",
            "maps",
            "clock",
            "suspend",
            "fork",
            "fork_exit",
            "fork_exec",
            "vfork",
            "spawn",
            "clone",
        ],
        Host::Python { jvm: false } => &[
            "close",
            "close",
            "closes",
            "signal",
            "signal",
            "ticking",
            "allocation",
            "memory",
            "libraries",
            "threads",
            "few_files",
            "code",
            "collect",
            "clock",
            "suspend",
            "fork",
            "spawn",
            "run",
        ],
        // A JVM has descriptors of its own, and ends the process when malloc fails.
        Host::Python { jvm: true } => &[
            "signal",
            "threads",
            "code",
            "collect",
            "java_keep",
            "java_collect",
            "clock",
            "spawn",
            "run",
            "libraries",
        ],
        Host::Java => &["spawn", "threads", "collect", "memory", "exceptions", "deep"],
    };
    let kind = kinds[random.index(kinds.len())];
    let (a, b) = match kind {
        "close" | "over" => (3 + random.below(200), 0),
        "signal" => {
            (harmless(host, random), random.below(if matches!(host, Host::C { .. }) { 4 } else { 3 }))
        }
        "ticking" => (upto(random, 30), 0),
        "allocation" => (upto(random, 40), 0),
        "memory" => (upto(random, 32), 0),
        "write" => (upto(random, 8), u64::from(if random.below(2) == 0 { ENOSPC } else { EIO })),
        "threads" => (upto(random, 16), 0),
        "clock" => (upto(random, 100_000), 0),
        "suspend" => (upto(random, 5_000), 0),
        _ => (upto(random, 6), 0),
    };
    // Back, too: a clock that is set is set both ways.
    let sign = if kind == "clock" && random.below(2) == 0 { "-" } else { "" };
    format!("{kind}:{sign}{a}:{b}")
}

/// A signal that the host has a handler for, or can be given one.
fn harmless(host: Host, random: &mut Random) -> u64 {
    loop {
        let signal = 1 + random.below(MOST_SIGNAL);
        let is_taken = matches!(signal, SIGKILL | SIGSTOP | SIGCHLD | 4 | 7 | 8 | 11 | 32 | 33);
        // SIGALRM is for `ticking`; a JVM has uses of its own for two, and for those that end it.
        let is_jvms = host == Host::Python { jvm: true } && matches!(signal, 1..=3 | 12 | 15);
        if !is_taken && !is_jvms && signal != SIGALRM {
            return signal;
        }
    }
}

fn outer(host: Host, random: &mut Random) -> Option<String> {
    let after = 50 + random.below(700);
    let length = 1 + random.below(120);
    let word = match random.below(10) {
        0 | 1 => format!("stop:{after}:{length}"),
        2 => format!("trace:{after}:{length}"),
        3 => format!("watcher_kill:{after}:0"),
        4 => format!("watcher_stop:{after}:{length}"),
        5 => format!("watcher_trace:{after}:{length}"),
        6 => format!("watcher_hang:{after}:0"),
        7 => format!("watcher_signal:{after}:0:{}", 1 + random.below(MOST_SIGNAL)),
        // The host has handlers for all of these from its start on; a JVM alone has not.
        _ if host == Host::Java => return None,
        _ => format!("storm:{}:{length}:{}", 300 + after, [10, 16, 34, 40, 64][random.index(5)]),
    };
    Some(word)
}

fn options(random: &mut Random) -> Vec<String> {
    let mut options =
        vec!["--interval".to_owned(), ["100ms", "100ms", "200ms", "500ms"][random.index(4)].to_owned()];
    let mut maybe = |name: &str, values: &[&str]| {
        if random.below(3) == 0 {
            options.extend([name.to_owned(), values[random.index(values.len())].to_owned()]);
        }
    };
    maybe("--native-sample", &["4KiB", "16KiB", "64KiB"]);
    maybe("--python-sample", &["1KiB", "8KiB"]);
    maybe("--python", &["exact", "tracemalloc", "gauges", "off"]);
    maybe("--native", &["gauges", "off"]);
    options
}

/// Splitmix64: small, and the same on every machine.
#[derive(Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_makes_the_same_plan() {
        for seed in 0..50 {
            assert_eq!(format!("{:?}", Plan::new(seed, 20)), format!("{:?}", Plan::new(seed, 20)));
        }
    }

    #[test]
    fn every_host_and_every_collector_comes_up() {
        let plans: Vec<Plan> = (0..300).map(|seed| Plan::new(seed, 3)).collect();
        for name in ["c", "c-single", "python", "both", "java"] {
            assert!(plans.iter().any(|plan| plan.host.name() == name), "{name}");
        }
        for collector in Collector::ALL {
            assert!(plans.iter().any(|plan| plan.collector == Some(collector)), "{collector:?}");
        }
    }

    #[test]
    fn a_plan_counts_what_it_has() {
        let plan = Plan::new(7, 25);
        assert_eq!(plan.planned(), plan.kinds().len());
        assert!(plan.inside.last().is_some_and(|word| word.starts_with("end:")));
        assert_eq!(plan.inside.len(), 25);
    }
}
