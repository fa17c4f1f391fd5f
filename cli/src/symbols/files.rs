//! Finds the files that have an object's symbols: in the user's folders, in the system's folder of debug files, at the
//! recorded path, and beside it.
//! Never takes a file with another build id, never opens what is no regular file, never reads outside these places.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use leakline_core::text::file_name;
use object::read::ReadCache;

use super::inspect::{Inspected, Quality, inspect};
use super::lookup::Symbols;

/// Where Linux distributions put separate debug files.
const SYSTEM: &str = "/usr/lib/debug";
/// Entries of the user's folders that are looked at, and how deep.
const MAX_ENTRIES: usize = 200_000;
const MAX_DEPTH: usize = 24;

/// The user's folders and this system's.
#[derive(Debug)]
pub(super) struct Files {
    folders: Vec<PathBuf>,
    system: PathBuf,
    /// Of the user's folders, by name. Made when first asked.
    index: Option<HashMap<String, Vec<PathBuf>>>,
}

/// The best symbols of an object, and what to say where that is not enough.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) symbols: Option<Symbols>,
    pub(super) why: String,
}

/// What is known of an object, and the best file so far.
struct Search<'a> {
    build_id: &'a str,
    best: Option<(Quality, Symbols)>,
    why: Option<String>,
}

impl Files {
    pub(super) fn new(folders: &[PathBuf]) -> Self {
        Self { folders: folders.to_vec(), system: SYSTEM.into(), index: None }
    }

    /// The same with another folder in the system's stead.
    #[cfg(test)]
    pub(super) fn with_system(self, system: PathBuf) -> Self {
        Self { system, ..self }
    }

    /// The symbols of the object that was at `path` and has `build_id`.
    pub(super) fn find(&mut self, path: &str, build_id: &str) -> Found {
        let mut search = Search { build_id, best: None, why: None };
        // What comes from a recording goes into paths: only what can be a build id does.
        let is_id = build_id.len() > 2 && build_id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let candidates = self.by_id(build_id, is_id).into_iter().chain(self.by_name(path));
        for candidate in candidates {
            self.consider(&mut search, &candidate, 0);
            if search.is_done() {
                break;
            }
        }
        if !search.is_done() && is_local(path) {
            self.consider(&mut search, Path::new(path), 0);
        }
        let why = search.why.unwrap_or_else(|| match (&search.best, build_id) {
            (Some(_), _) => "its file here has only some of its names".to_owned(),
            (None, "") => "not found here, and it has no build id to find it by".to_owned(),
            (None, _) => "no file with this build id was found here".to_owned(),
        });
        Found { symbols: search.best.map(|(_, symbols)| symbols), why }
    }

    fn by_id(&self, build_id: &str, is_id: bool) -> Vec<PathBuf> {
        let Some((begin, rest)) = build_id.split_at_checked(2).filter(|_| is_id) else { return Vec::new() };
        let name = PathBuf::from(begin).join(format!("{rest}.debug"));
        let roots = self.folders.iter().flat_map(|folder| [folder.join(".build-id"), folder.clone()]);
        roots.chain([self.system.join(".build-id")]).map(|root| root.join(&name)).collect()
    }

    /// The files in the user's folders that are called as the object.
    fn by_name(&mut self, path: &str) -> Vec<PathBuf> {
        let folders = &self.folders;
        let index = self.index.get_or_insert_with(|| index(folders));
        let name = file_name(path);
        let names = [name.to_owned(), format!("{name}.debug"), format!("{name}.dbg")];
        names.iter().filter_map(|name| index.get(name)).flatten().cloned().collect()
    }

    /// Takes the file at `path` if it is the object's, or leads to it.
    fn consider(&self, search: &mut Search<'_>, path: &Path, depth: u32) {
        let Some(file) = open(path) else { return };
        let Some(inspected) = inspect(&ReadCache::new(file)) else {
            search.note(format!("{} is damaged, or no object", path.display()));
            return;
        };
        if inspected.build_id != search.build_id {
            search.note(format!("{} is another build", path.display()));
            return;
        }
        if inspected.quality < Quality::Lines && depth == 0 {
            for linked in self.linked(&inspected, path) {
                self.consider(search, &linked, 1);
                if search.is_done() {
                    return;
                }
            }
        }
        if inspected.quality == Quality::Nothing {
            search.note(format!("{} is stripped", path.display()));
        }
        if inspected.quality == Quality::Nothing
            || search.best.as_ref().is_some_and(|(best, _)| *best >= inspected.quality)
        {
            return;
        }
        let shared = inspected.shared.as_ref().and_then(|(name, build_id)| self.shared(path, name, build_id));
        match Symbols::open(path, shared.as_deref()) {
            Ok(symbols) => search.best = Some((inspected.quality, symbols)),
            Err(error) => search.note(format!("{} cannot be read: {error}", path.display())),
        }
    }

    /// The separate debug files that the object at `path` names, with the content that it means.
    fn linked(&self, object: &Inspected, path: &Path) -> Vec<PathBuf> {
        let (Some((name, crc)), Some(folder)) = (&object.link, path.parent()) else { return Vec::new() };
        // A name, not a path: what it is joined to stays the folder.
        if file_name(name) != name || name == ".." {
            return Vec::new();
        }
        let mirrored = folder.strip_prefix("/").ok().map(|folder| self.system.join(folder));
        let folders = [Some(folder.to_owned()), Some(folder.join(".debug")), mirrored];
        let is_meant = |path: &PathBuf| {
            open(path).is_some_and(|file| {
                !object.build_id.is_empty() || crc_32(file).is_ok_and(|found| found == *crc)
            })
        };
        folders.into_iter().flatten().map(|folder| folder.join(name)).filter(is_meant).collect()
    }

    /// The file that a debug file shares with others.
    fn shared(&self, path: &Path, name: &str, build_id: &str) -> Option<PathBuf> {
        let beside = path.parent().map(|folder| folder.join(name));
        let is_id = build_id.len() > 2;
        let candidates = beside.into_iter().chain(self.by_id(build_id, is_id));
        candidates.into_iter().find(|path| {
            open(path)
                .and_then(|file| inspect(&ReadCache::new(file)))
                .is_some_and(|shared| shared.build_id == build_id)
        })
    }
}

impl Search<'_> {
    fn is_done(&self) -> bool {
        matches!(self.best, Some((Quality::Lines, _)))
    }

    /// The first thing that went wrong is told: the user's folders come first.
    fn note(&mut self, why: String) {
        self.why.get_or_insert(why);
    }
}

/// A recorded path that is one of this machine: on Windows others begin with two separators.
fn is_local(path: &str) -> bool {
    !path.starts_with("//") && !path.starts_with("\\\\") && Path::new(path).is_absolute()
}

/// A regular file. A pipe would wait for ever.
fn open(path: &Path) -> Option<File> {
    fs::metadata(path).ok()?.is_file().then(|| File::open(path).ok()).flatten()
}

fn crc_32(mut file: File) -> io::Result<u32> {
    let mut hash = crc32fast::Hasher::new();
    let mut piece = vec![0_u8; 64 << 10];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hash.finalize()),
            read => hash.update(piece.get(..read).unwrap_or_default()),
        }
    }
}

/// The files below `folders` by name.
fn index(folders: &[PathBuf]) -> HashMap<String, Vec<PathBuf>> {
    let mut index: HashMap<String, Vec<PathBuf>> = HashMap::new();
    let mut open: Vec<(PathBuf, usize)> = folders.iter().map(|folder| (folder.clone(), 0)).collect();
    let mut seen = 0;
    while let Some((folder, depth)) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            seen += 1;
            if seen > MAX_ENTRIES {
                return index;
            }
            // A link to a folder may lead back to where it stands.
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                if depth < MAX_DEPTH {
                    open.push((entry.path(), depth + 1));
                }
            } else if let Ok(name) = entry.file_name().into_string() {
                index.entry(name).or_default().push(entry.path());
            }
        }
    }
    index.values_mut().for_each(|paths| paths.sort());
    index
}
