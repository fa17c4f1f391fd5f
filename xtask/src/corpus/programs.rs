//! Compiles the programs of the corpus into `.leakline/leaks`, when they changed, and says how each is started.
//! They know nothing of leakline and link nothing of it.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::seed::Parameters;
use super::truth::{self, Truth};
use crate::hosts::Hosts;
use crate::process::{root, run, stdout_of};

/// What C and C++ are made into: (source, what is made of it, further words).
const COMPILED: &[(&str, &str, &[&str])] = &[
    ("native/leaks.c", "leaks", &[]),
    ("native/innocent.c", "innocent", &[]),
    ("native/containers.cpp", "containers", &[]),
    ("native/plugin.c", "libplugin.so", SHARED),
    ("java/leaks.c", "libleaks.so", SHARED),
    ("python/forgetful.c", "forgetful.so", SHARED),
];

const SHARED: &[&str] = &["-shared", "-fPIC"];

/// The compiled corpus.
pub(super) struct Programs {
    hosts: Hosts,
    folder: PathBuf,
}

impl Programs {
    /// Compiles what changed.
    pub(super) fn build(hosts: Hosts) -> anyhow::Result<Self> {
        let programs = Self { hosts, folder: root().join(".leakline/leaks") };
        let stamp = format!("{} {:x}", programs.hosts.java_home.display(), sources_hash()?);
        let stamp_file = programs.folder.join("stamp");
        if fs::read_to_string(&stamp_file).is_ok_and(|found| found == stamp) {
            return Ok(programs);
        }
        let _ = fs::remove_dir_all(&programs.folder);
        fs::create_dir_all(&programs.folder)
            .with_context(|| format!("cannot make the folder {}", programs.folder.display()))?;
        programs.compile()?;
        fs::write(&stamp_file, stamp).with_context(|| format!("cannot write {}", stamp_file.display()))?;
        Ok(programs)
    }

    fn compile(&self) -> anyhow::Result<()> {
        let jni = self.hosts.java_home.join("include");
        let where_from = "import sysconfig; print(sysconfig.get_path('include'), end='')";
        let python = stdout_of(Command::new(&self.hosts.python).args(["-c", where_from]))?;
        for (source, made, words) in COMPILED {
            let (variable, usual) = if source.ends_with("cpp") { ("CXX", "c++") } else { ("CC", "cc") };
            let mut compiler = Command::new(std::env::var_os(variable).unwrap_or_else(|| usual.into()));
            compiler.args(["-g", "-O1", "-Wall", "-Wextra", "-Werror"]).args(*words);
            compiler.arg("-I").arg(&jni).arg("-I").arg(jni.join("linux")).arg("-I").arg(&python);
            let made = self.folder.join(made);
            run(compiler.arg("-o").arg(made).arg(truth::folder().join(source)).arg("-lpthread"))?;
        }
        let mut javac = Command::new(self.hosts.java_home.join("bin/javac"));
        javac.args(["--release", "11", "-g", "-Xlint:all,-options", "-Werror", "-d"]).arg(self.classes());
        let sources = ["Pace", "Leaks", "Innocent"];
        run(javac.args(sources.map(|name| truth::folder().join(format!("java/{name}.java")))))
    }

    fn classes(&self) -> PathBuf {
        self.folder.join("classes")
    }

    /// The Python that runs those in Python.
    pub(super) fn python(&self) -> &Path {
        &self.hosts.python
    }

    /// What starts a program: the file, and its arguments.
    pub(super) fn words(&self, truth: &Truth) -> Vec<PathBuf> {
        let source = truth::folder().join(&truth.file);
        let extension = source.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let mut words: Vec<PathBuf> = match extension {
            "py" => vec![self.hosts.python.clone(), source, (&truth.program).into()],
            "java" => {
                let mut words = vec![self.hosts.java_home.join("bin/java")];
                words.extend(truth.java.iter().map(PathBuf::from));
                let class = source.file_stem().unwrap_or_default();
                words.extend(["-cp".into(), self.classes(), class.into(), (&truth.program).into()]);
                words
            }
            _ => vec![self.folder.join(source.file_stem().unwrap_or_default()), (&truth.program).into()],
        };
        words.extend(match (truth.group(), truth.program.as_str()) {
            ("native", "dlopen") => Some(self.folder.join("libplugin.so")),
            ("java", "jni-global") => Some(self.folder.join("libleaks.so")),
            ("java", "loader") | ("bridge", _) => Some(self.classes()),
            _ => None,
        });
        words
    }

    /// What a program finds in its environment.
    pub(super) fn variables(&self, parameters: &Parameters, seconds: f64) -> Vec<(&'static str, String)> {
        vec![
            ("LEAK_RATE", format!("{:.0}", parameters.rate)),
            ("LEAK_SECONDS", seconds.to_string()),
            ("LEAK_NOISE", parameters.noise.to_string()),
            ("LEAK_LOAD", format!("{:.3}", parameters.load)),
            ("LEAK_SEED", parameters.seed.to_string()),
            ("PYTHONPATH", self.folder.to_string_lossy().into_owned()),
            ("PYTHONDONTWRITEBYTECODE", "1".into()),
        ]
    }
}

/// Changes when anything that is compiled changes, or how.
fn sources_hash() -> anyhow::Result<u64> {
    let mut hasher = DefaultHasher::new();
    include_str!("programs.rs").hash(&mut hasher);
    let java = ["java/Pace.java", "java/Leaks.java", "java/Innocent.java", "native/pace.h"];
    for file in COMPILED.iter().map(|(source, ..)| *source).chain(java) {
        let path = truth::folder().join(file);
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?.hash(&mut hasher);
    }
    Ok(hasher.finish())
}
