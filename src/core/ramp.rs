//! How many connections to one host pay: a controller without clock or socket.
//!
//! It starts with few connections and doubles them while a doubling brings markedly more
//! bytes; otherwise it goes back to what paid and stays there, since a connection that
//! brings nothing costs the registry and everybody behind the same link. It tries again
//! rarely, because links change. Whoever is told to slow down, or starved, halves.
//!
//! Windows are measured by `fetch`; here is only what follows from them.

use std::time::Duration;

/// Connections to a host of which nothing is known yet: one that works, and one that shows
/// whether a second helps.
const START: usize = 2;
/// How much more a doubling has to bring. Two flows that share one link bring the same as
/// one, give or take what a window measures wrong; two throttled ones bring twice as much.
const PAYS: f64 = 1.3;
/// Windows that a number is kept for once more did not pay; doubles with every vain try. The
/// first time it is short: a slow moment of the link looks like one that more would not fill.
const HOLD: u32 = 4;
/// The longest such wait.
const LONGEST_HOLD: u32 = 512;
/// Windows without growth after trouble.
const HOLD_AFTER_TROUBLE: u32 = 64;

/// What came from a host in a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// Connections that were delivering, on average.
    pub connections: usize,
    /// Bytes that they brought.
    pub bytes: u64,
    /// How long it took.
    pub duration: Duration,
}

impl Window {
    /// Bytes per second.
    fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rate needs three digits")]
        let bytes = self.bytes as f64;
        bytes / self.duration.as_secs_f64().max(f64::EPSILON)
    }
}

/// The number of connections to one host.
#[derive(Debug, Clone)]
pub struct Ramp {
    allowed: usize,
    cap: usize,
    phase: Phase,
    hold: u32,
    /// There was trouble since the last window: N connections see the same one.
    troubled: bool,
}

/// What a number of connections brought.
#[derive(Debug, Clone, Copy)]
struct Paid {
    connections: usize,
    rate: f64,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Finding out what the present number brings.
    Base,
    /// Finding out whether the present number brings enough more than the one before.
    Probe { before: Paid, windows: u32 },
    /// Leaving it as it is for so many windows.
    Hold(u32),
}

impl Ramp {
    /// A ramp for a host of which nothing is known, that never goes above `cap`.
    #[must_use]
    pub fn new(cap: usize) -> Self {
        let cap = cap.max(1);
        Self { allowed: START.min(cap), cap, phase: Phase::Base, hold: HOLD, troubled: false }
    }

    /// How many connections there may be.
    #[must_use]
    pub fn allowance(&self) -> usize {
        self.allowed
    }

    /// Takes note of a window. One in which fewer connections were at work than are allowed
    /// says nothing about the number, only that time passes.
    pub fn observe(&mut self, window: &Window) {
        self.troubled = false;
        if let Phase::Hold(left) = self.phase {
            self.phase = if left > 1 { Phase::Hold(left - 1) } else { Phase::Base };
            return;
        }
        if window.connections < self.allowed {
            return;
        }
        let now = Paid { connections: window.connections.min(self.cap), rate: window.rate() };
        match self.phase {
            Phase::Hold(_) => {}
            Phase::Base => self.grow(now),
            // New connections need a while to get going: the first window is theirs.
            Phase::Probe { before, windows: 0 } => self.phase = Phase::Probe { before, windows: 1 },
            Phase::Probe { before, .. } if now.rate >= before.rate * PAYS => {
                self.hold = HOLD;
                self.grow(now);
            }
            // Far away they need longer; one more window decides.
            Phase::Probe { before, windows: 1 } => self.phase = Phase::Probe { before, windows: 2 },
            Phase::Probe { before, .. } => {
                self.allowed = before.connections;
                self.rest();
            }
        }
    }

    /// The host refused a connection for being one too many (429, 503), or let one starve.
    pub fn trouble(&mut self) {
        if !std::mem::replace(&mut self.troubled, true) {
            self.allowed = (self.allowed / 2).max(1);
            self.phase = Phase::Hold(HOLD_AFTER_TROUBLE);
        }
    }

    fn grow(&mut self, now: Paid) {
        let next = (now.connections * 2).min(self.cap);
        if next > now.connections {
            self.allowed = next;
            self.phase = Phase::Probe { before: now, windows: 0 };
        } else {
            self.allowed = now.connections;
            self.rest();
        }
    }

    fn rest(&mut self) {
        self.phase = Phase::Hold(self.hold);
        self.hold = (self.hold * 2).min(LONGEST_HOLD);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A link of `link` bytes per second to a host that gives every connection `each`, and
    /// refuses more than `limit` connections.
    struct Link {
        each: u64,
        link: u64,
        limit: usize,
    }

    impl Link {
        fn rate(&self, connections: usize) -> u64 {
            (self.each * connections as u64).min(self.link)
        }

        /// Runs as many windows, each with all the connections that are allowed; how many refusals there were.
        fn run(&self, ramp: &mut Ramp, windows: usize) -> usize {
            let mut refusals = 0;
            for _ in 0..windows {
                if ramp.allowance() > self.limit {
                    ramp.trouble();
                    refusals += 1;
                }
                let connections = ramp.allowance().min(self.limit);
                let bytes = self.rate(connections) / 5;
                ramp.observe(&Window { connections, bytes, duration: Duration::from_millis(200) });
            }
            refusals
        }
    }

    impl Link {
        /// Runs until a number has been found that is kept for a while.
        fn settle(&self, ramp: &mut Ramp) {
            self.run(ramp, 12);
            while !matches!(ramp.phase, Phase::Hold(_)) {
                self.run(ramp, 1);
            }
        }
    }

    const FREE: usize = usize::MAX;

    #[test]
    fn finds_what_pays() {
        // Bytes per second and connection, of the link, connections the host takes, cap; expected.
        let cases = [
            (20, 1000, FREE, 16, 16, "throttled per connection: all that may be"),
            (20, 100, FREE, 16, 4, "eight would bring little more than four"),
            (500, 1000, FREE, 16, 2, "two fill the link"),
            (1000, 1000, FREE, 16, 2, "one fills the link"),
            (20, 1000, FREE, 1, 1, "one is all that may be"),
            (20, 1000, FREE, 5, 4, "a fifth brings a fourth more"),
            (20, 1000, 4, 16, 4, "the host takes four"),
            (20, 1000, 1, 16, 1, "the host takes one"),
        ];
        for (each, link, limit, cap, expected, what) in cases {
            let link = Link { each: each * 1000, link: link * 1000, limit };
            let mut ramp = Ramp::new(cap);
            link.settle(&mut ramp);
            assert_eq!(ramp.allowance(), expected, "{what}");
        }
    }

    #[test]
    fn gets_to_sixteen_within_a_dozen_windows() {
        let mut ramp = Ramp::new(16);
        Link { each: 20_000_000, link: 1_000_000_000, limit: FREE }.run(&mut ramp, 7);
        assert_eq!(ramp.allowance(), 16);
    }

    #[test]
    fn many_connections_see_one_trouble_and_none_is_added_for_a_while() {
        let mut ramp = Ramp::new(16);
        let link = Link { each: 20_000, link: 1_000_000, limit: FREE };
        link.run(&mut ramp, 12);
        (0..16).for_each(|_| ramp.trouble());
        assert_eq!(ramp.allowance(), 8);
        link.run(&mut ramp, HOLD_AFTER_TROUBLE as usize - 1);
        assert_eq!(ramp.allowance(), 8, "not yet");
        link.run(&mut ramp, 10);
        assert_eq!(ramp.allowance(), 16, "after a while it is tried again");
    }

    #[test]
    fn a_slow_moment_costs_little() {
        let mut ramp = Ramp::new(16);
        let link = Link { each: 20_000_000, link: 1_000_000_000, limit: FREE };
        link.run(&mut ramp, 2);
        // While four are tried, the link brings no more than two did.
        Link { link: 40_000_000, ..link }.run(&mut ramp, 3);
        assert_eq!(ramp.allowance(), 2);
        link.run(&mut ramp, HOLD as usize + 7);
        assert_eq!(ramp.allowance(), 16);
    }

    #[test]
    fn idle_connections_prove_nothing() {
        let mut ramp = Ramp::new(16);
        for _ in 0..100 {
            ramp.observe(&Window { connections: 1, bytes: 1 << 20, duration: Duration::from_millis(200) });
        }
        assert_eq!(ramp.allowance(), START);
    }

    #[test]
    fn the_connections_of_many_small_blobs_count() {
        let mut ramp = Ramp::new(16);
        let window = |connections, bytes| Window { connections, bytes, duration: Duration::from_millis(200) };
        ramp.observe(&window(6, 6000));
        assert_eq!(ramp.allowance(), 12, "six are at work anyway");
    }

    proptest! {
        #[test]
        fn comes_close_to_the_best_with_few_connections(
            each in 1_000_u64..100_000_000, link in 1_000_u64..1_000_000_000, cap in 1_usize..64,
        ) {
            let link = Link { each, link, limit: FREE };
            let mut ramp = Ramp::new(cap);
            link.settle(&mut ramp);
            let (settled, best) = (link.rate(ramp.allowance()), link.rate(cap));
            prop_assert!(settled * 134 / 100 >= best, "{settled} of {best} with {}", ramp.allowance());
            let needed = usize::try_from(best.div_ceil(each)).expect("few");
            prop_assert!(ramp.allowance() <= (2 * needed).max(START).min(cap.max(1)), "{} where {needed} do", ramp.allowance());
        }

        #[test]
        fn a_host_with_a_limit_is_rarely_asked_for_more(limit in 1_usize..32, cap in 1_usize..64) {
            let link = Link { each: 1_000_000, link: u64::MAX, limit };
            let mut ramp = Ramp::new(cap);
            let refusals = link.run(&mut ramp, 200);
            prop_assert!(refusals <= 200 / HOLD_AFTER_TROUBLE as usize + 2, "{refusals} refusals");
            prop_assert!(ramp.allowance() >= 1 && ramp.allowance() <= cap);
        }

        #[test]
        fn nothing_leaves_the_bounds(
            cap in 0_usize..40, events in prop::collection::vec((any::<bool>(), 0_usize..80, any::<u64>(), 0_u64..5000), 0..200),
        ) {
            let mut ramp = Ramp::new(cap);
            for (trouble, connections, bytes, millis) in events {
                if trouble {
                    ramp.trouble();
                }
                ramp.observe(&Window { connections, bytes, duration: Duration::from_millis(millis) });
                prop_assert!((1..=cap.max(1)).contains(&ramp.allowance()));
            }
        }
    }
}
