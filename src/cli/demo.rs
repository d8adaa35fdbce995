//! `lighterman demo`.
use super::Failure;
use super::context::Context;
pub(super) async fn run(_context: &Context) -> Result<(), Failure> {
    Ok(())
}
