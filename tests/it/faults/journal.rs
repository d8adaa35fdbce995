//! What a run before has left: taken as far as it can be trusted, healed where it cannot.

use std::fs::OpenOptions;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::{MIB, Pull, cargo, for_each, largest, request_for};
use crate::support::fixture::Blob;
use crate::support::liar::{At, Liar, Reply, Request, When};

/// What the journal of a blob says is there, in order; nothing where there is no journal.
pub(super) fn journalled(pull: &Pull, blob: &Blob) -> Vec<Range<u64>> {
    let text = std::fs::read_to_string(pull.staged(blob).1).unwrap_or_default();
    let range = |line: &str| {
        let mut words = line.strip_prefix("w ")?.split(' ');
        Some(words.next()?.parse().ok()?..words.next()?.parse().ok()?)
    };
    let mut ranges: Vec<Range<u64>> = text.lines().filter_map(range).collect();
    ranges.sort_by_key(|range| range.start);
    ranges
}

fn total(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

/// A pull of [`cargo`] that was killed when most of the large blob was staged. The range with
/// its last byte had not come.
pub(super) fn interrupt(liar: &Liar, big: &Blob) -> Pull {
    let last = big.bytes.len() - 1;
    liar.always(When::from(&request_for(big)).covering(last), Reply::Gated(At::AfterHead));
    let pull = Pull::from(liar);
    let mut running = pull.spawn();
    let most = |requests: &[Request]| {
        let of_big = || requests.iter().filter(|r| r.line().contains(&request_for(big)));
        let silent = of_big().any(|r| r.bounded_range().is_some_and(|(_, end)| end == last) && r.status == 206);
        silent && of_big().map(|r| r.sent).sum::<usize>() >= 12 * MIB
    };
    assert!(liar.wait_until(&mut running, most), "it ended before it was interrupted");
    while total(&journalled(&pull, big)) < 12 * MIB as u64 || !synced_any(&pull, big) {
        assert!(!running.has_ended(), "it ended before it was interrupted");
        std::thread::yield_now();
    }
    running.kill();
    liar.open_gate();
    liar.settle();
    pull
}

fn synced_any(pull: &Pull, blob: &Blob) -> bool {
    std::fs::read_to_string(pull.staged(blob).1).is_ok_and(|text| text.contains("\ns ") && text.ends_with('\n'))
}

/// What of a blob was asked for after the first `before` requests.
fn asked_since(liar: &Liar, before: usize, blob: &Blob) -> Vec<Range<u64>> {
    let requests = liar.requests().into_iter().skip(before);
    let range = |request: Request| {
        let (first, last) = request.bounded_range().unwrap_or((0, blob.bytes.len() - 1));
        first as u64..last as u64 + 1
    };
    let mut ranges: Vec<_> = requests.filter(|r| r.line().contains(&request_for(blob))).map(range).collect();
    ranges.sort_by_key(|range| range.start);
    ranges
}

fn overlaps(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

/// How many bytes are in any of the ranges, which are in order.
fn covered(ranges: &[Range<u64>]) -> u64 {
    let (mut end, mut sum) = (0, 0);
    for range in ranges {
        sum += range.end.saturating_sub(range.start.max(end));
        end = end.max(range.end);
    }
    sum
}

/// The bytes of `size` that none of `ranges` has.
fn outside(ranges: &[Range<u64>], size: u64) -> u64 {
    size - total(ranges)
}

#[test]
fn what_was_journalled_is_not_asked_for_again() {
    let (image, big) = (cargo(), largest(cargo()));
    let liar = Liar::serving(image, "app:1");
    let pull = interrupt(&liar, big);
    let (there, before) = (journalled(&pull, big), liar.requests().len());
    pull.run().succeeds();
    pull.assert_whole(image, "after an interruption");
    let asked = asked_since(&liar, before, big);
    assert_eq!(covered(&asked), outside(&there, big.bytes.len() as u64), "{there:?} was there, {asked:?} asked for");
    assert!(!asked.iter().any(|a| there.iter().any(|t| overlaps(a, t))), "{there:?}, {asked:?}");
}

#[test]
fn after_another_boot_only_what_was_synced_is_trusted() {
    let (image, big) = (cargo(), largest(cargo()));
    let liar = Liar::serving(image, "app:1");
    let pull = interrupt(&liar, big);
    let (file, journal) = pull.staged(big);
    let text = std::fs::read_to_string(&journal).expect("a journal");
    let lines: Vec<&str> = text.lines().collect();
    let count: usize =
        lines.iter().rev().find_map(|line| line.strip_prefix("s ")?.parse().ok()).expect("something is synced");
    let records: Vec<Range<u64>> = lines
        .iter()
        .filter_map(|line| {
            let mut words = line.strip_prefix("w ")?.split(' ');
            Some(words.next()?.parse().ok()?..words.next()?.parse().ok()?)
        })
        .collect();
    let mut rewritten: Vec<String> = lines.iter().map(ToString::to_string).collect();
    rewritten[1] = "boot 00000000-0000-4000-8000-000000000000".into();
    std::fs::write(&journal, rewritten.join("\n") + "\n").expect("a journal of ours");
    // What was not synced is lost, as by a power failure.
    let (synced, lost) = records.split_at(count);
    let data = OpenOptions::new().write(true).open(&file).expect("a staged file");
    for range in lost {
        let zeros = vec![0; usize::try_from(range.end - range.start).expect("a range in memory")];
        data.write_all_at(&zeros, range.start).expect("a staged file of ours");
    }
    let before = liar.requests().len();
    pull.run().succeeds();
    pull.assert_whole(image, "after a reboot");
    let asked = asked_since(&liar, before, big);
    assert!(!asked.iter().any(|a| synced.iter().any(|s| overlaps(a, s))), "{synced:?} was synced, {asked:?} asked for");
    assert_eq!(covered(&asked), outside(synced, big.bytes.len() as u64), "{synced:?} was synced, {asked:?} asked for");
}

/// How a journal is damaged, by its text.
type Damage = fn(&str) -> String;

#[test]
fn a_damaged_journal_is_healed_and_never_trusted() {
    let cases: [(&str, Damage); 8] = [
        ("nothing in it", |_| String::new()),
        ("garbage", |_| "\u{0}\u{1}garbage \u{fffd}\n".repeat(50)),
        ("of the future", |text| text.replacen("lighterman-journal 1", "lighterman-journal 2", 1)),
        ("of another size", |text| {
            let (head, rest) = text.split_once('\n').expect("a line");
            format!("{head}0\n{rest}")
        }),
        ("a range beyond the end", |text| format!("{text}w 00000000099999999990 00000000099999999999 a\n")),
        ("a range twice", |text| {
            let line = text.lines().find(|line| line.starts_with("w ")).expect("a record");
            format!("{text}{line}\n")
        }),
        ("no end of the first line", |text| text.lines().next().expect("a line").to_owned()),
        ("a claim that all is there", |text| {
            let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with(['w', 's'])).collect();
            let size = text.lines().next().and_then(|line| line.split(' ').nth(3)).expect("a size");
            format!("{}\nw {:020} {size:0>20} a\n", kept.join("\n"), 0)
        }),
    ];
    for_each(&cases, |(told, damage)| {
        let (image, big) = (cargo(), largest(cargo()));
        let liar = Liar::serving(image, "app:1");
        let pull = interrupt(&liar, big);
        let (_, journal) = pull.staged(big);
        let text = std::fs::read_to_string(&journal).expect("a journal");
        std::fs::write(&journal, damage(&text)).expect("a journal of ours");
        let before = liar.requests().len();
        pull.run().succeeds();
        pull.assert_whole(image, told);
        let asked = asked_since(&liar, before, big);
        assert!(covered(&asked) == big.bytes.len() as u64, "{told}: it was trusted: {asked:?}");
    });
}

#[test]
fn a_torn_last_line_costs_what_it_told() {
    let (image, big) = (cargo(), largest(cargo()));
    let liar = Liar::serving(image, "app:1");
    let pull = interrupt(&liar, big);
    let (_, journal) = pull.staged(big);
    let text = std::fs::read_to_string(&journal).expect("a journal");
    std::fs::write(&journal, format!("{text}w 0000000000")).expect("a journal of ours");
    let (there, before) = (journalled(&pull, big), liar.requests().len());
    pull.run().succeeds();
    pull.assert_whole(image, "after a torn line");
    assert_eq!(covered(&asked_since(&liar, before, big)), outside(&there, big.bytes.len() as u64));
}

/// How a staged file is damaged.
type Harm = fn(&Path, &Path);

#[test]
fn staged_bytes_that_are_not_what_the_journal_says_never_become_visible() {
    let cases: [(&str, Harm); 4] = [
        ("a byte changed", |file, _| {
            let data = OpenOptions::new().read(true).write(true).open(file).expect("a staged file");
            let mut byte = [0];
            data.read_exact_at(&mut byte, 1000).expect("a byte");
            data.write_all_at(&[byte[0] ^ 1], 1000).expect("a staged file of ours");
        }),
        ("cut short", |file, _| {
            let data = OpenOptions::new().write(true).open(file).expect("a staged file");
            data.set_len(MIB as u64).expect("a staged file of ours");
        }),
        ("gone", |file, _| std::fs::remove_file(file).expect("a staged file of ours")),
        ("without a journal", |_, journal| std::fs::remove_file(journal).expect("a journal of ours")),
    ];
    for_each(&cases, |(told, harm)| {
        let (image, big) = (cargo(), largest(cargo()));
        let liar = Liar::serving(image, "app:1");
        let pull = interrupt(&liar, big);
        let (file, journal) = pull.staged(big);
        harm(&file, &journal);
        pull.run().succeeds();
        pull.assert_whole(image, told);
        assert!(liar.requests_for(&request_for(big)).len() > 2, "{told}");
    });
}
