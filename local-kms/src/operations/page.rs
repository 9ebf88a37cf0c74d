//! Pages of the List operations: `Limit` and `Marker` in, `NextMarker` and `Truncated` out.

use super::constraints::Constraints;
use super::opaque;
use crate::error::KmsError;

/// Where a page starts, and how long it may be.
pub(super) struct PageRequest {
    /// What identifies the last item of the page before.
    pub(super) after: Option<Vec<u8>>,
    pub(super) limit: usize,
}

impl PageRequest {
    pub(super) fn parse(
        limit: Option<i64>,
        marker: Option<&str>,
        (default, max): (usize, i64),
    ) -> Result<Self, KmsError> {
        let mut constraints = Constraints::default();
        constraints.number("limit", limit, 1..=max);
        constraints.length("marker", marker, 1..=1024);
        constraints.check()?;
        let after = marker.map(|marker| opaque::decode(marker).ok_or(KmsError::InvalidMarker));
        Ok(Self {
            after: after.transpose()?,
            limit: limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(default),
        })
    }

    /// What identifies the last item, where that is text.
    pub(super) fn after_text(&self) -> Result<Option<&str>, KmsError> {
        self.after.as_deref().map(std::str::from_utf8).transpose().map_err(|_| KmsError::InvalidMarker)
    }

    /// The same, where it is an id.
    pub(super) fn after_id<const N: usize>(&self) -> Result<Option<[u8; N]>, KmsError> {
        self.after.as_deref().map(<[u8; N]>::try_from).transpose().map_err(|_| KmsError::InvalidMarker)
    }

    /// One more than the page holds, which tells whether it is the last.
    pub(super) fn fetch(&self) -> usize {
        self.limit + 1
    }

    /// Cuts `items` to the page, and gives the marker of the next one if there is one.
    pub(super) fn cut<T>(&self, items: &mut Vec<T>, identity: impl FnOnce(&T) -> Vec<u8>) -> Option<String> {
        if items.len() <= self.limit {
            return None;
        }
        items.truncate(self.limit);
        items.last().map(|last| opaque::encode(&identity(last)))
    }
}
