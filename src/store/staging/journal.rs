//! The journal of a partial blob: which bytes are there, which host gave them, and which of
//! them a power failure cannot take any more.
//!
//! ```text
//! lighterman-journal 1 sha256:9f86d0… 73400320
//! boot 1c9b1a4e-…                                             this kernel's boot ID
//! w 00000000000000000000 00000000000004194304 mirror:5000     written, after the bytes were
//! s 1                                                         of these, so many lines are synced
//! ```
//!
//! A line is written after what it tells of has happened. As long as the same kernel runs,
//! every line holds, since the page cache outlives any process; after another boot, only
//! what an `s` covers. Bytes that go on where a line ends lengthen that line in place, up to
//! the next `s`, so that a journal has a line per range that was asked for and not per write.
//!
//! Nothing in it is believed beyond where to look: the bytes are hashed again. A journal of
//! another version, blob or grammar means that nothing is there. A last line without its
//! end was cut off and is left out.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::core::descriptor::Descriptor;
use crate::core::ranges::Ranges;
use crate::store::boot::BOOT;

/// Bytes of a journal that are read: a line for every 4 MiB of 1 TB takes less.
const LONGEST: u64 = 64 * 1024 * 1024;
/// Bytes of a host's name; what DNS and a port can have.
const LONGEST_HOST: usize = 262;
/// Lines looked at for one to lengthen: as many as connections write at a time.
const OPEN_LINES: usize = 64;

/// Some bytes and where they are from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) range: Range<u64>,
    pub(super) host: Arc<str>,
    /// It was in the journal when this process took the blob up.
    pub(super) inherited: bool,
}

/// The journal of a blob that this process writes. The file is there from the first write on
/// that leaves the blob unfinished: what comes in one piece needs none.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    head: String,
    file: Option<Arc<File>>,
    length: u64,
    records: Vec<Record>,
    /// Where the line of each record starts in the file.
    lines: Vec<u64>,
    /// Records that are not lengthened any more, because an `s` covers them or is about to.
    sealed: usize,
    /// Records that the last `s` in the file covers.
    noted: usize,
}

impl Journal {
    /// The journal of a blob of which nothing is there.
    pub(super) fn new(path: PathBuf, blob: &Descriptor) -> Self {
        // Where the kernel does not say, every run is taken for another boot.
        let head = format!("{}\nboot {}\n", title(blob), BOOT.as_deref().unwrap_or("-"));
        Self { path, head, file: None, length: 0, records: Vec::new(), lines: Vec::new(), sealed: 0, noted: 0 }
    }

    /// Takes up what an earlier run left, or `None` where that is nothing, or nothing to go by.
    /// The lines that hold are written anew, so that a journal only ever tells of one boot.
    pub(super) fn resume(path: PathBuf, blob: &Descriptor) -> io::Result<Option<Self>> {
        let Some(text) = read(&path)? else { return Ok(None) };
        let Some((records, synced)) = parse(&text, blob, BOOT.as_deref()) else { return Ok(None) };
        if records.is_empty() {
            return Ok(None);
        }
        let mut journal = Self { records, ..Self::new(path, blob) };
        let fresh = journal.path.with_extension("journal.new");
        journal.create(&fresh, synced)?;
        if synced > 0
            && let Some(file) = &journal.file
        {
            // What outlived one power failure is to outlive the next.
            file.sync_data()?;
        }
        std::fs::rename(&fresh, &journal.path)?;
        journal.sealed = journal.records.len();
        Ok(Some(journal))
    }

    /// Every record, oldest first; no two overlap.
    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    /// Notes bytes that were written. `is_whole`: the blob is, now.
    pub(super) fn note(&mut self, range: Range<u64>, host: &str, is_whole: bool) -> io::Result<()> {
        let host = printable(host);
        let from = self.records.len().saturating_sub(OPEN_LINES).max(self.sealed);
        let longer = self.records[from..].iter().rposition(|r| r.range.end == range.start && *r.host == *host);
        match longer.map(|index| from + index) {
            Some(index) => self.lengthen(index, range.end),
            None => self.append(Record { range, host: host.into(), inherited: false }, is_whole),
        }
    }

    fn lengthen(&mut self, index: usize, end: u64) -> io::Result<()> {
        if let Some(file) = &self.file {
            // A kill between two pages of the file could mix two numbers; the digest would tell.
            file.write_all_at(field(end).as_bytes(), self.lines[index] + TO)?;
        }
        self.records[index].range.end = end;
        Ok(())
    }

    fn append(&mut self, record: Record, is_whole: bool) -> io::Result<()> {
        let line = line(&record);
        if let Some(file) = &self.file {
            file.write_all_at(line.as_bytes(), self.length)?;
            self.lines.push(self.length);
            self.length += line.len() as u64;
            self.records.push(record);
            return Ok(());
        }
        self.records.push(record);
        if is_whole {
            return Ok(());
        }
        self.create(&self.path.clone(), 0).inspect_err(|_| drop(self.records.pop()))
    }

    /// What a sync that begins now covers.
    pub(super) fn seal(&mut self) -> usize {
        self.sealed = self.records.len();
        self.sealed
    }

    /// Notes that the first `count` records are on disk; the file, for syncing this very note.
    pub(super) fn note_synced(&mut self, count: usize) -> io::Result<Option<Arc<File>>> {
        let Some(file) = &self.file else { return Ok(None) };
        // Of two syncs at once, the one that covers less may end last.
        if count <= self.noted {
            return Ok(None);
        }
        let line = format!("s {count}\n");
        file.write_all_at(line.as_bytes(), self.length)?;
        self.noted = count;
        self.length += line.len() as u64;
        Ok(Some(Arc::clone(file)))
    }

    /// Removes the file, be it an earlier run's, for good.
    pub(super) fn remove(&mut self) {
        self.file = None;
        // Mostly there is none. Without its blob it means nothing, and is swept some day.
        let _ = std::fs::remove_file(&self.path);
    }

    /// Writes everything into a new file: `synced` of the records are on disk.
    fn create(&mut self, path: &Path, synced: usize) -> io::Result<()> {
        self.noted = synced;
        let mut text = self.head.clone();
        self.lines.clear();
        for (index, record) in self.records.iter().enumerate() {
            self.lines.push(text.len() as u64);
            text.push_str(&line(record));
            if index + 1 == synced {
                text.push_str(&format!("s {synced}\n"));
            }
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
        let mut file = options.open(path)?;
        file.write_all(text.as_bytes())?;
        self.length = text.len() as u64;
        self.file = Some(Arc::new(file));
        Ok(())
    }
}

/// The first line.
fn title(blob: &Descriptor) -> String {
    format!("lighterman-journal 1 {} {}", blob.digest, blob.size)
}

/// Where the second number of a `w` line starts within it.
const TO: u64 = 2 + 20 + 1;

/// A number with leading zeros, so that a later one fits in its place.
fn field(number: u64) -> String {
    format!("{number:020}")
}

fn line(record: &Record) -> String {
    format!("w {} {} {}\n", field(record.range.start), field(record.range.end), record.host)
}

/// A host as a journal can hold it. Hosts come from configuration files.
fn printable(host: &str) -> String {
    let host: String = host.chars().filter(char::is_ascii_graphic).take(LONGEST_HOST).collect();
    if host.is_empty() { "?".into() } else { host }
}

/// The file's text; `None` where there is none, or more than anyone of us would write.
fn read(path: &Path) -> io::Result<Option<String>> {
    let mut options = OpenOptions::new();
    let file = match options.read(true).custom_flags(nix::libc::O_NOFOLLOW).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    Ok(if bytes.len() as u64 > LONGEST { None } else { String::from_utf8(bytes).ok() })
}

/// The records that hold, those first of which it is known that they are on disk, and how
/// many these are. `None` where the text is not a journal of `blob`.
fn parse(text: &str, blob: &Descriptor, boot: Option<&str>) -> Option<(Vec<Record>, usize)> {
    let whole = &text[..=text.rfind('\n')?];
    let mut lines = whole.lines();
    if lines.next()? != title(blob) {
        return None;
    }
    let of = lines.next()?.strip_prefix("boot ")?;
    let (mut records, mut synced, mut seen) = (Vec::new(), 0, Ranges::default());
    for line in lines {
        if let Some(count) = line.strip_prefix("s ") {
            synced = count.parse().ok().filter(|count| (synced..=records.len()).contains(count))?;
            continue;
        }
        let record = parse_record(line)?;
        if record.range.end > blob.size || seen.gaps(&record.range) != [record.range.clone()] {
            return None;
        }
        seen.insert(record.range.clone());
        records.push(record);
    }
    if boot != Some(of) {
        records.truncate(synced);
    }
    Some((records, synced))
}

fn parse_record(line: &str) -> Option<Record> {
    let mut words = line.strip_prefix("w ")?.split(' ');
    let (from, to, host) = (words.next()?, words.next()?, words.next()?);
    let range = from.parse().ok()?..to.parse().ok()?;
    let sound = words.next().is_none() && !range.is_empty() && to.len() == 20 && printable(host) == host;
    sound.then(|| Record { range, host: host.into(), inherited: true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::descriptor::MediaType;
    use crate::core::digest::Digest;
    use proptest::prelude::*;

    fn blob() -> Descriptor {
        Descriptor::new(MediaType::Other("x".into()), Digest::of(b"cargo"), 100)
    }

    fn ranges(journal: &Journal) -> Vec<(Range<u64>, &str)> {
        journal.records().iter().map(|record| (record.range.clone(), &*record.host)).collect()
    }

    fn parsed(lines: &str, boot: Option<&str>) -> Option<(Vec<Range<u64>>, usize)> {
        let text = format!("{}\nboot A\n{lines}", title(&blob()));
        parse(&text, &blob(), boot).map(|(records, synced)| (records.into_iter().map(|r| r.range).collect(), synced))
    }

    #[test]
    fn tells_the_next_run_what_is_there() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("blob.journal");
        let mut journal = Journal::new(path.clone(), &blob());
        let written = [(0..10, "a:1"), (50..60, "b:1"), (10..20, "a:1"), (60..61, "a:1"), (20..30, "b:1")];
        for (range, host) in written {
            journal.note(range, host, false).expect("notes");
        }
        let expected = vec![(0..20, "a:1"), (50..60, "b:1"), (60..61, "a:1"), (20..30, "b:1")];
        assert_eq!(ranges(&journal), expected);
        for _ in 0..2 {
            let again = Journal::resume(path.clone(), &blob()).expect("reads").expect("is sound");
            assert_eq!(ranges(&again), expected);
            assert!(again.records().iter().all(|record| record.inherited));
        }
        let files: Vec<_> = std::fs::read_dir(folder.path()).expect("lists").flatten().map(|e| e.file_name()).collect();
        assert_eq!(files, ["blob.journal"]);
    }

    #[test]
    fn what_was_synced_is_not_lengthened() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("blob.journal");
        let mut journal = Journal::new(path.clone(), &blob());
        journal.note(0..10, "a", false).expect("notes");
        let covered = journal.seal();
        journal.note(10..20, "a", false).expect("notes");
        journal.note_synced(covered).expect("notes");
        journal.note(20..30, "a", false).expect("notes");
        let text = std::fs::read_to_string(&path).expect("reads");
        let of = |boot| parse(&text, &blob(), boot).expect("is sound").0;
        assert_eq!(of(BOOT.as_deref()).iter().map(|r| r.range.clone()).collect::<Vec<_>>(), [0..10, 10..30]);
        assert_eq!(of(Some("another")).iter().map(|r| r.range.clone()).collect::<Vec<_>>(), vec![0..10; 1]);
    }

    #[test]
    fn a_blob_in_one_piece_has_no_journal() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("blob.journal");
        let mut journal = Journal::new(path.clone(), &blob());
        journal.note(0..100, "a", true).expect("notes");
        let covered = journal.seal();
        assert!(journal.note_synced(covered).expect("notes").is_none());
        assert!(!path.exists());
    }

    #[test]
    fn another_boot_believes_what_was_synced() {
        let lines =
            "w 00000000000000000000 00000000000000000010 a\nw 00000000000000000020 00000000000000000030 b\ns 1\n";
        assert_eq!(parsed(lines, Some("A")), Some((vec![0..10, 20..30], 1)));
        assert_eq!(parsed(lines, Some("B")), Some((vec![0..10; 1], 1)));
        assert_eq!(parsed(lines, None), Some((vec![0..10; 1], 1)));
    }

    #[test]
    fn garbage_means_that_nothing_is_there() {
        let line = |from: u64, to: u64| format!("w {} {} a\n", field(from), field(to));
        let torn = format!("{}w 000", line(0, 10));
        assert_eq!(parsed(&torn, Some("A")), Some((vec![0..10; 1], 0)));
        let overlapping = line(0, 10) + &line(5, 15);
        for lines in [
            "x\n",
            "s 1\n",
            "w 0 1\n",
            "w 00000000000000000000 1 a\n",
            "w 00000000000000000000 00000000000000000010 a b\n",
            "w 00000000000000000000 00000000000000000010 \u{1b}\n",
            &line(10, 10),
            &line(10, 5),
            &line(90, 101),
            &overlapping,
            &(line(0, 10) + "s 1\ns 0\n"),
        ] {
            assert_eq!(parsed(lines, Some("A")), None, "{lines:?}");
        }
        let other = Descriptor { size: 101, ..blob() };
        assert!(parse(&format!("{}\nboot A\n", title(&other)), &blob(), Some("A")).is_none());
        assert!(parse("lighterman-journal 2 ", &blob(), Some("A")).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(tail in "[ws0-9a\n ]{0,200}", cut in 0..300_usize) {
            let text = format!("{}\nboot A\n{tail}", title(&blob()));
            let cut = cut.min(text.len());
            if let Some((records, synced)) = parse(&text[..cut], &blob(), Some("A")) {
                prop_assert!(synced <= records.len());
                prop_assert!(records.iter().all(|record| record.range.end <= 100));
            }
        }
    }

    #[test]
    fn hosts_cannot_break_the_grammar() {
        assert_eq!(printable("mirror:5000"), "mirror:5000");
        assert_eq!(printable("a b\nw c"), "abwc");
        assert_eq!(printable("\u{e9}"), "?");
        assert_eq!(printable(&"x".repeat(1000)).len(), LONGEST_HOST);
    }
}
