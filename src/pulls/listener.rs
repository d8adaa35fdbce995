//! Who is told of one pull as it goes on.

use crate::fetch::progress::{Observer, Silent};
use crate::pull::Planned;

/// Hears of a pull: first its number, then what it is going to bring, then what an
/// [`Observer`] hears.
pub trait Listener: Observer {
    /// The pull has begun, under this number.
    fn began(&self, id: u64);

    /// The manifests are chosen.
    fn planned(&self, planned: &Planned);
}

impl Listener for Silent {
    fn began(&self, _id: u64) {}

    fn planned(&self, _planned: &Planned) {}
}
