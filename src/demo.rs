//! The newcomer's tour: a layout, the mirror on loopback, the real client code.
//!
//! [`image`] builds two multi-arch images out of real programs, `service::mirror` serves
//! them as a registry does, and [`run`] executes what was pulled. Nothing here touches the
//! network beyond loopback, containerd, or anything that needs root.

pub mod error;
pub mod image;
mod programs;
pub mod run;

pub use error::DemoError;
