//! Which connection holds a blob up, and how much of its part somebody else should bring: pure
//! decisions.
//!
//! Time is counted in looks and not by the clock. At each look the transfer takes down what
//! every connection has brought so far, after those had their turn for which something came. A
//! machine without a free core looks less often, and finds the more at each look, so that
//! nobody is taken for slow who only was not listened to. A look at which a connection is
//! busy with the disk does not count for it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::core::limits::Limits;

/// How often a transfer looks.
pub(super) const LOOK: Duration = Duration::from_millis(150);
/// Looks that make a window: what came in one of them says how a connection does. All in all a
/// few times what opening a connection costs.
const WINDOW: usize = 4;

/// Turns of a connection that others wait for, where it would have to begin anew.
const LONGER: usize = 60;

/// What one connection has brought, look by look.
#[derive(Debug)]
pub(super) struct Progress {
    /// Looks that make a window.
    window: usize,
    /// Bytes at the last looks, oldest first.
    marks: VecDeque<u64>,
}

impl Default for Progress {
    fn default() -> Self {
        Self::over(WINDOW)
    }
}

impl Progress {
    fn over(window: usize) -> Self {
        Self { window, marks: VecDeque::from([0]) }
    }

    /// Takes down that it has brought so many bytes in all.
    pub(super) fn look(&mut self, brought: u64) {
        if self.marks.len() > self.window {
            self.marks.pop_front();
        }
        self.marks.push_back(brought);
    }

    /// Bytes within the last window; `None` before there was one.
    pub(super) fn lately(&self) -> Option<u64> {
        let (first, last) = (self.marks.front()?, self.marks.back()?);
        (self.marks.len() > self.window).then(|| last.saturating_sub(*first))
    }
}

/// How long a connection has been at work that others may wait for the end of.
#[derive(Debug)]
pub(super) struct Turn {
    /// Within a stall window.
    progress: Progress,
    /// Bytes that are to come within one.
    least: u128,
    looks: usize,
}

impl Turn {
    pub(super) fn new(limits: &Limits) -> Self {
        let window = usize::try_from(limits.stall_window.as_millis() / LOOK.as_millis()).unwrap_or(usize::MAX);
        let least = u128::from(limits.fair_rate) * limits.stall_window.as_millis() / 1000;
        Self { progress: Progress::over(window.max(1)), least, looks: 0 }
    }

    /// Takes down that it has brought so many bytes in all.
    pub(super) fn look(&mut self, brought: u64) {
        self.looks = self.looks.saturating_add(1);
        self.progress.look(brought);
    }

    /// Whether it has had its turn and brought next to nothing lately. Who cannot go on where it
    /// stopped has a longer one.
    pub(super) fn is_over(&self, can_go_on: bool) -> bool {
        let turn = self.progress.window.saturating_mul(if can_go_on { 1 } else { LONGER });
        self.looks > turn && self.progress.lately().is_some_and(|lately| u128::from(lately) < self.least)
    }
}

/// What a connection to one host usually brings.
#[derive(Debug, Default)]
pub(super) struct Usual {
    /// Bytes from one look to the next; looks at which nothing came say nothing.
    per_look: Option<u64>,
}

impl Usual {
    /// Takes down what `connections` brought since the last look.
    pub(super) fn look(&mut self, bytes: u64, connections: usize) {
        let share = bytes / u64::try_from(connections).unwrap_or(u64::MAX).max(1);
        if share > 0 {
            self.per_look = Some(self.per_look.map_or(share, |before| before - before / 4 + share / 4));
        }
    }

    /// Bytes in a window; 0 as long as nothing came.
    pub(super) fn in_window(&self) -> u64 {
        self.per_look.unwrap_or_default().saturating_mul(WINDOW as u64)
    }
}

/// A connection at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Runner {
    /// Bytes within the last window, where there was one.
    pub(super) lately: Option<u64>,
    /// Bytes that it is still to bring.
    pub(super) left: u64,
    /// It works in the place of one that fell silent.
    pub(super) is_heir: bool,
}

/// Who is to be helped, and how many of the bytes that are left it keeps: as many as it brings
/// while the helper, who is taken to do as well as the best, brings the rest. One that fell
/// silent keeps nothing. `usual` is what a connection to the host brings in a window.
pub(super) fn laggard(runners: &[Runner], usual: u64) -> Option<(usize, u64)> {
    let best = |but: usize| {
        let others = runners.iter().enumerate().filter(|(index, _)| *index != but);
        others.filter_map(|(_, runner)| runner.lately).max().unwrap_or_default()
    };
    let lagging = runners.iter().enumerate().filter_map(|(index, runner)| {
        let (lately, others) = (runner.lately?, best(index));
        // Where nothing comes from anybody it is the link or the host, and the stall rule's
        // affair. Each part is tried once more all the same, since the link may be fine.
        let is_hopeless = lately == 0 && others == 0 && runner.is_heir;
        let helper = others.max(usual);
        (!is_hopeless && pays(runner.left, lately, helper)).then_some((index, runner.left, lately, helper))
    });
    let (index, left, lately, helper) = lagging.max_by(|(_, left, lately, _), (_, other_left, other_lately, _)| {
        let (ours, others) = (wide(*left) * wide(*other_lately), wide(*other_left) * wide(*lately));
        ours.cmp(&others).then(left.cmp(other_left))
    })?;
    let keeps = wide(left) * wide(lately) / (wide(lately) + wide(helper));
    Some((index, u64::try_from(keeps).unwrap_or(left)))
}

/// Whether help pays for one that has `left` to bring and brings `lately` in a window: alone it
/// takes a window at the least, and half as long again as with a helper who takes a quarter
/// of a window to begin. What is on its way already comes twice, so that less does not pay.
fn pays(left: u64, lately: u64, helper: u64) -> bool {
    let (left, lately, helper) = (wide(left), wide(lately), wide(helper));
    let both = lately + helper;
    // left/lately >= 3/2 * (1/4 + left/both), in whole numbers.
    left > 0 && helper > 0 && left >= lately && 8 * left * both >= 3 * lately * both + 12 * left * lately
}

/// Products of two sizes fit.
fn wide(bytes: u64) -> u128 {
    // No blob is larger than what a file system holds, which keeps three factors in range too.
    u128::from(bytes.min(1 << 60))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// What has come by a look.
    type Brought = fn(u64) -> u64;

    fn runner(lately: u64, left: u64) -> Runner {
        Runner { lately: Some(lately), left, is_heir: false }
    }

    #[test]
    fn a_window_is_told_when_it_is_over_and_slides_on() {
        let mut progress = Progress::default();
        for brought in [10, 20, 30] {
            progress.look(brought);
            assert_eq!(progress.lately(), None);
        }
        progress.look(40);
        assert_eq!(progress.lately(), Some(40));
        progress.look(40);
        progress.look(45);
        assert_eq!(progress.lately(), Some(25));
        (0..WINDOW).for_each(|_| progress.look(45));
        assert_eq!(progress.lately(), Some(0));
    }

    #[test]
    fn a_turn_ends_for_who_brings_next_to_nothing_lately() {
        // Ten looks, and 1500 bytes within.
        let limits = Limits { fair_rate: 1000, stall_window: 10 * LOOK, ..Limits::default() };
        let after = |looks: u64, brought: Brought, can_go_on| {
            let mut turn = Turn::new(&limits);
            (0..looks).for_each(|look| turn.look(brought(look)));
            assert!(turn.progress.marks.len() <= 11, "it does not grow");
            turn.is_over(can_go_on)
        };
        let cases: [(u64, Brought, bool, bool); 7] = [
            (10, |_| 0, true, false),
            (11, |_| 0, true, true),
            (11, |_| 0, false, false),
            (1000, |_| 0, false, true),
            (1000, |look| 100 * look, true, true),
            (1000, |look| 200 * look, true, false),
            (1000, |_| 1 << 40, true, true),
        ];
        for (index, (looks, brought, can_go_on, is_over)) in cases.into_iter().enumerate() {
            assert_eq!(after(looks, brought, can_go_on), is_over, "case {index}");
        }
    }

    #[test]
    fn what_is_usual_follows_what_comes_and_not_the_pauses() {
        let mut usual = Usual::default();
        assert_eq!(usual.in_window(), 0);
        usual.look(4 * MIB, 4);
        assert_eq!(usual.in_window(), 4 * MIB);
        (0..100).for_each(|_| usual.look(0, 4));
        assert_eq!(usual.in_window(), 4 * MIB);
        (0..100).for_each(|_| usual.look(8 * MIB, 0));
        assert!((30 * MIB..=32 * MIB).contains(&usual.in_window()), "{}", usual.in_window());
    }

    #[test]
    fn one_that_falls_silent_keeps_nothing_however_little_is_left() {
        for left in [1, 1000, MIB, 64 * MIB] {
            assert_eq!(laggard(&[runner(MIB, 9 * MIB), runner(0, left)], MIB), Some((1, 0)), "{left}");
            assert_eq!(laggard(&[runner(0, left)], MIB), Some((0, 0)), "alone, {left}");
        }
        assert_eq!(laggard(&[runner(MIB, MIB), runner(0, 0)], MIB), None, "it has nothing left");
    }

    #[test]
    fn silence_of_all_is_tried_once_more_and_then_left_to_the_stall_rule() {
        let heir = Runner { is_heir: true, ..runner(0, MIB) };
        assert_eq!(laggard(&[runner(0, MIB), heir], MIB), Some((0, 0)));
        assert_eq!(laggard(&[heir, heir], MIB), None);
        assert_eq!(laggard(&[heir, runner(1, MIB / 4)], 0), Some((0, 0)), "something comes: it can be better");
        assert_eq!(laggard(&[runner(0, MIB)], 0), None, "nothing ever came");
    }

    #[test]
    fn on_a_starved_machine_all_are_slow_and_nobody_is_helped() {
        // Looks come late, and to each of them there is a lot: little is left in windows.
        let starved = [runner(3 * MIB, 2 * MIB), runner(2 * MIB, MIB), runner(4 * MIB, 3 * MIB)];
        assert_eq!(laggard(&starved, 3 * MIB), None);
        // Not listened to for a window or two, and new since.
        let fresh = Runner { lately: None, left: 4 * MIB, is_heir: false };
        assert_eq!(laggard(&[fresh, fresh], 3 * MIB), None);
    }

    #[test]
    fn a_slow_one_is_helped_so_that_both_end_together() {
        // At an eighth of what the others do, it keeps a ninth.
        assert_eq!(laggard(&[runner(MIB / 8, 9 * MIB), runner(MIB, MIB)], 0), Some((0, MIB)));
        // All the same and a long way to go: a host with a limit for each connection.
        assert_eq!(laggard(&[runner(MIB, 8 * MIB)], MIB), Some((0, 4 * MIB)));
        assert_eq!(laggard(&[runner(MIB, MIB + MIB / 4)], MIB), None, "it is nearly there");
        // Of several, the one that would end last.
        assert_eq!(laggard(&[runner(MIB, 8 * MIB), runner(MIB, 9 * MIB)], MIB), Some((1, 9 * MIB / 2)));
        assert_eq!(laggard(&[runner(MIB, 64 * MIB), runner(0, 1)], MIB), Some((1, 0)));
    }

    proptest! {
        #[test]
        fn only_who_has_something_left_is_helped_and_keeps_no_more(
            runners in prop::collection::vec((prop::option::of(any::<u64>()), any::<u64>(), any::<bool>()), 0..6), usual: u64,
        ) {
            let runners: Vec<Runner> =
                runners.into_iter().map(|(lately, left, is_heir)| Runner { lately, left, is_heir }).collect();
            if let Some((index, keeps)) = laggard(&runners, usual) {
                prop_assert!(runners[index].left > 0 && keeps < runners[index].left);
                prop_assert!(runners[index].lately.is_some());
            }
        }

        #[test]
        fn help_never_takes_longer_than_going_on_alone(
            left in 1_u64..1 << 40, lately in 1_u64..1 << 30, usual in 16_u64..1 << 30,
        ) {
            if let Some((_, keeps)) = laggard(&[runner(lately, left)], usual) {
                prop_assert!(left >= lately, "less than a window was left");
                // In windows times `lately`: with help, both are done before it would be alone.
                prop_assert!(keeps <= left);
                let helper = wide(left - keeps) * 4 * wide(lately) + wide(lately) * wide(usual);
                prop_assert!(helper <= wide(left) * 4 * wide(usual), "{keeps} of {left}");
            }
        }
    }
}
