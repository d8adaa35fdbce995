//! The list of pulls, and who lands what.
