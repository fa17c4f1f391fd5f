//! What of the resident size is still to be explained, and who takes from it.
//! Never gives more than is left, and never less than nothing.

use std::borrow::Cow;

use super::{LedgerPart, PartSource};

/// What of the resident size no part has taken yet.
pub(super) struct Rest {
    pub(super) left: f64,
    pub(super) parts: Vec<LedgerPart>,
}

impl Rest {
    pub(super) fn take(&mut self, name: &'static str, claim: Option<f64>) {
        self.part(name, claim, PartSource::Measured);
    }

    pub(super) fn take_derived(&mut self, name: &'static str, claim: Option<f64>) {
        self.part(name, claim, PartSource::Derived);
    }

    /// Malloc's live bytes: those that others are known to have taken from it, and the rest. Without malloc's own figure
    /// there is nothing that these could be parts of, so they claim for themselves.
    pub(super) fn malloc(&mut self, live: Option<f64>, shares: &[(&'static str, Option<f64>)]) {
        let mut live_left = live.unwrap_or(f64::INFINITY);
        for (name, claim) in shares {
            let Some(claim) = *claim else { continue };
            let within = claim.min(live_left);
            live_left -= within;
            let source = if within < claim { PartSource::Derived } else { PartSource::Measured };
            self.part(name, Some(within), source);
        }
        if live.is_some() {
            let is_whole = shares.iter().all(|(_, claim)| claim.is_none());
            let (name, source) = if is_whole {
                ("malloc in use", PartSource::Measured)
            } else {
                ("other malloc", PartSource::Derived)
            };
            self.part(name, Some(live_left), source);
        }
    }

    pub(super) fn part(&mut self, name: &'static str, claim: Option<f64>, source: PartSource) {
        let Some(claim) = claim else { return };
        let bytes = claim.min(self.left);
        self.left -= bytes;
        let source = if bytes < claim { PartSource::Derived } else { source };
        self.parts.push(LedgerPart { name: Cow::Borrowed(name), bytes, source });
    }

    /// Marks a part that was cut before it was taken.
    pub(super) fn say_derived(&mut self, name: &str) {
        for part in self.parts.iter_mut().filter(|part| part.name == name) {
            part.source = PartSource::Derived;
        }
    }
}
