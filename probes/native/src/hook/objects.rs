//! The objects that frames of kept paths lie in, as a reader has them: of its own process from the loader, of another one
//! from the tables, where the host recorded each when it met it.
//! Never reads the other process's memory, and needs it to be there only for names that are not absolute.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use leakline_probing::loader;

use super::OBJECTS_EPOCH;
use super::names;
use super::table::Table;
use super::table::objects::Recorded;
use crate::unwind::objects::{Objects, in_digits};

/// What is known of an address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'a> {
    /// Which object it is.
    pub(super) index: usize,
    pub(super) path: &'a Arc<str>,
    pub(super) build_id: &'a Arc<str>,
    /// In the object's file.
    pub(super) address: u64,
    /// Whether it is another library of leakline's.
    pub(super) is_part: bool,
    /// Whether this process has the same object at the same place.
    pub(super) is_loaded_here: bool,
}

/// The objects.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Of this process.
    loaded: Objects,
    generation: Option<u64>,
    epoch: u64,
    /// The process that is watched, where it is another.
    pid: Option<u32>,
    recorded: Vec<Named>,
}

/// An object that the host recorded, with its file.
#[derive(Debug)]
struct Named {
    object: Recorded,
    path: Arc<str>,
    build_id: Arc<str>,
    is_loaded_here: bool,
}

impl Book {
    pub(super) fn new(pid: Option<u32>) -> Self {
        Self { pid, ..Self::default() }
    }

    /// Notes what is new. True: what was known of addresses may not hold any more.
    pub(super) fn look(&mut self, table: &Table) -> bool {
        let generation = loader::generation();
        if generation.is_none() || generation != self.generation {
            self.generation = generation;
            self.loaded = Objects::of_process();
        }
        let Some(pid) = self.pid else {
            let epoch = OBJECTS_EPOCH.load(std::sync::atomic::Ordering::SeqCst);
            return std::mem::replace(&mut self.epoch, epoch) != epoch;
        };
        for (index, named) in self.recorded.iter_mut().enumerate() {
            named.object.until = table.seen_until(index);
        }
        for object in table.recorded(self.recorded.len()) {
            let build_id: Arc<str> = in_digits(&object.build_id).into();
            let here = self.loaded.starting_at(object.start as usize);
            let is_loaded_here = here.is_some_and(|here| here.build_id == build_id);
            let path = file(&object.path, pid).into();
            self.recorded.push(Named { object, path, build_id, is_loaded_here });
        }
        false
    }

    /// The objects of this process.
    pub(super) fn loaded(&self) -> &Objects {
        &self.loaded
    }

    /// The object that `address` lay in after so many unloadings.
    pub(super) fn find(&self, address: usize, epoch: u32) -> Option<Found<'_>> {
        if self.pid.is_none() {
            let (object, address) = self.loaded.find(address)?;
            return Some(Found {
                index: object.start,
                path: &object.path,
                build_id: &object.build_id,
                address,
                is_part: names::is_part(&object.path),
                is_loaded_here: true,
            });
        }
        let holds =
            |named: &&(usize, &Named)| (named.1.object.start..named.1.object.end).contains(&(address as u64));
        let all: Vec<(usize, &Named)> = self.recorded.iter().enumerate().collect();
        let of_then =
            |named: &&(usize, &Named)| (named.1.object.from..=named.1.object.until).contains(&epoch);
        let mut holding = all.iter().filter(holds);
        let (index, named) = holding.clone().rfind(of_then).or_else(|| holding.next_back())?;
        Some(Found {
            index: *index,
            path: &named.path,
            build_id: &named.build_id,
            address: (address as u64).wrapping_sub(named.object.bias),
            is_part: names::is_part(&named.path),
            is_loaded_here: named.is_loaded_here,
        })
    }
}

/// The file of an object that a process's loader calls `name`, as far as it can still be found.
fn file(name: &[u8], pid: u32) -> String {
    let name = match name {
        // This process runs the same program: it was forked from that one.
        b"" => std::env::current_exe().unwrap_or_else(|_| PathBuf::from("<program>")),
        b"linux-vdso.so.1" => return "[vdso]".to_owned(),
        name => {
            let path = Path::new(OsStr::from_bytes(name));
            let from = if path.is_absolute() {
                path.to_path_buf()
            } else {
                Path::new("/proc").join(pid.to_string()).join("cwd").join(path)
            };
            std::fs::canonicalize(from).unwrap_or_else(|_| path.to_path_buf())
        }
    };
    name.to_string_lossy().into_owned()
}
