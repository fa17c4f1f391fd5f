//! What a profile says, on the wire: the name of its source and the numbers of its sites.
//! Never here: indices, or what changed.

use std::borrow::Cow;
use std::sync::Arc;

use leakline_core as model;

use super::cut_to;
use crate::limits::MAX_SOURCE_NAME_BYTES;
use crate::v1;

/// The source of a profile, within its bound. Agents that knew no other than tracemalloc did not name it.
pub(crate) fn source_name(name: &str) -> Cow<'_, str> {
    match name {
        "" => Cow::Borrowed(model::ProfileSource::TRACEMALLOC),
        name => cut_to(name, MAX_SOURCE_NAME_BYTES),
    }
}

/// The numbers of one site in a change.
pub(crate) fn amount_to_wire(site: u32, told: SiteNumbers) -> v1::SiteAmount {
    v1::SiteAmount {
        site,
        bytes: told.live.bytes,
        blocks: told.live.blocks,
        standard_error_bytes: told.standard_error_bytes,
        allocated_bytes: told.allocated.map(|allocated| allocated.bytes),
        allocated_blocks: told.allocated.map(|allocated| allocated.blocks),
        survived_bytes: told.survived.map(|survived| survived.bytes),
        survived_blocks: told.survived.map(|survived| survived.blocks),
    }
}

pub(crate) fn amount_from_wire(amount: &v1::SiteAmount) -> SiteNumbers {
    let known = |bytes: Option<u64>, blocks: Option<u64>| {
        bytes.map(|bytes| model::Amount { bytes, blocks: blocks.unwrap_or(0) })
    };
    SiteNumbers {
        live: model::Amount { bytes: amount.bytes, blocks: amount.blocks },
        standard_error_bytes: amount.standard_error_bytes,
        allocated: known(amount.allocated_bytes, amount.allocated_blocks),
        survived: known(amount.survived_bytes, amount.survived_blocks),
    }
}

/// What a profile says of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SiteNumbers {
    pub(crate) live: model::Amount,
    pub(crate) standard_error_bytes: u64,
    pub(crate) allocated: Option<model::Amount>,
    pub(crate) survived: Option<model::Amount>,
}

impl SiteNumbers {
    pub(crate) fn of(stat: &model::SiteStat) -> Self {
        Self {
            live: stat.live,
            standard_error_bytes: stat.standard_error_bytes,
            allocated: stat.allocated,
            survived: stat.survived,
        }
    }

    pub(crate) fn into_stat(self, site: Arc<model::Site>) -> model::SiteStat {
        model::SiteStat {
            site,
            live: self.live,
            standard_error_bytes: self.standard_error_bytes,
            allocated: self.allocated,
            survived: self.survived,
        }
    }

    /// Whether a site with these numbers need not be told: it holds nothing, and nothing is known of what it allocated.
    pub(crate) fn is_nothing(&self) -> bool {
        self.live == model::Amount::default()
            && [self.allocated, self.survived]
                .into_iter()
                .flatten()
                .all(|amount| amount == model::Amount::default())
    }
}
