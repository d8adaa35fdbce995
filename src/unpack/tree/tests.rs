//! What a layer becomes, trap by trap. Devices, owners and whiteouts need root's rights.

mod kinds;
mod limits;
mod looks;
mod parents;
pub(super) mod support;
mod whiteouts;
