//! Everything at once, by a plan that a seed decides: overlapping images are pulled beside each
//! other, also by containerd's own client, from registries that break and lie; clients go away,
//! both daemons are killed and stopped, the disk is full or slow, clocks jump, tokens expire, names
//! are removed and the collector runs. After every step nothing is wrong, lost or left behind.
//!
//! A short run is one of the tests. A longer one, and one again:
//!
//!     LIGHTERMAN_CHAOS_STEPS=2000 cargo test --test it chaos::
//!     LIGHTERMAN_TEST_SEED=123 cargo test --test it chaos::

mod acts;
mod check;
mod images;
mod judge;
mod plan;
mod world;

use std::io::Write as _;

use plan::Step;
use world::World;

use crate::support::asked_for;
use crate::support::dice::Dice;

/// Steps of a run that takes half a minute.
const STEPS: usize = 24;

#[test]
fn whatever_happens_nothing_is_wrong_lost_or_left() {
    let named = asked_for("LIGHTERMAN_CHAOS_STEPS");
    let steps = named.unwrap_or(STEPS);
    let mut dice = Dice::new();
    let (mut world, mut story) = (World::new(&mut dice), Story(Vec::new()));
    for number in 0..steps {
        let step = Step::roll(&mut dice);
        story.0.push(format!("{number}: {step:?}"));
        world.take(&step);
        world.check();
    }
    world.finish();
    // For whoever asked for a run of his own.
    if named.is_some() {
        let _ = writeln!(std::io::stderr(), "LIGHTERMAN_TEST_SEED={}\n{}", dice.seed(), world.tally());
    }
}

/// Tells how it came to a failure.
struct Story(Vec<String>);

impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "{}", self.0.join("\n"));
        }
    }
}
