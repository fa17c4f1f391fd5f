//! TEMPORARY
use std::sync::Arc;
#[derive(Debug, Clone)]
pub(crate) struct Object { pub(crate) start: usize, pub(crate) end: usize, pub(crate) bias: usize, pub(crate) path: Arc<str>, pub(crate) build_id: Arc<str> }
#[derive(Debug, Default)]
pub(crate) struct Objects { all: Vec<Object> }
impl Objects {
    pub(crate) fn of_process() -> Self {
        let text = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let mut all: Vec<Object> = Vec::new();
        for line in text.lines() {
            let mut w = line.split_whitespace();
            let (Some(r), Some(_), Some(off), _, _, Some(p)) = (w.next(), w.next(), w.next(), w.next(), w.next(), w.next()) else { continue };
            if !p.starts_with('/') { continue }
            let (a, b) = r.split_once('-').unwrap();
            let (a, b) = (usize::from_str_radix(a, 16).unwrap(), usize::from_str_radix(b, 16).unwrap());
            let _ = off;
            match all.last_mut() { Some(o) if &*o.path == p => o.end = b, _ => all.push(Object { start: a, end: b, bias: a, path: p.into(), build_id: "".into() }) }
        }
        Self { all }
    }
    pub(crate) fn all(&self) -> impl Iterator<Item=&Object> { self.all.iter() }
    pub(crate) fn find(&self, address: usize) -> Option<(&Object, u64)> {
        let o = self.all.iter().find(|o| (o.start..o.end).contains(&address))?;
        Some((o, (address - o.bias) as u64))
    }
}
