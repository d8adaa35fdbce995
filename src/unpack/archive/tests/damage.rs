//! Where an archive may end, what it may not exceed, and what happens after a fault.

use super::*;

#[test]
fn ends_where_go_ends() {
    let content = file("a", &[b'c'; 700]);
    let whole = BLOCK + 700;
    assert_eq!(read(b"").len(), 0);
    assert_eq!(read(&content).len(), 1, "without zeros");
    assert_eq!(read(&content[..whole]).len(), 1, "without padding");
    assert_eq!(read(&content[..whole + 5]).len(), 1, "in the padding");
    assert_eq!(read(&[&content[..], &[0; BLOCK]].concat()).len(), 1, "one block of zeros");
    let trailing = [content.clone(), end(), b"garbage".to_vec(), file("b", b"")].concat();
    assert_eq!(read(&trailing).len(), 1, "garbage behind the end");
    assert_eq!(read(&pax(&[("path", "nobody")])).len(), 0, "an extended header of nothing");
    let odd = Header { flag: b'7', size: 700, ..Header::default() };
    for (bytes, inside) in [
        (&content[..1], "a header"),
        (&content[..BLOCK - 1], "a header"),
        (&content[..BLOCK], "a file"),
        (&content[..whole - 1], "a file"),
        (&[&content[..], &[0; 5]].concat(), "a header"),
        (&[&content[..], &[0; BLOCK + 5]].concat(), "a header"),
        (&[odd.bytes(), vec![0; 699]].concat(), "a file"),
        (&pax(&[("path", "cut")])[..BLOCK + 3], "an extended header"),
        (&long(b'L', b"cut")[..BLOCK], "an extended header"),
    ] {
        assert_eq!(fault(bytes), Fault::Truncated { inside, offset: bytes.len() as u64 });
    }
    let lonely = [vec![0; BLOCK], content].concat();
    assert!(matches!(fault(&lonely), Fault::Malformed { offset: 512, .. }));
}

#[test]
fn names_what_is_over_a_limit() {
    let limits = Limits { layer_inflated_bytes: 8192, tar_name_bytes: 200, tar_pax_bytes: 512, ..Limits::default() };
    let name = "n".repeat(201);
    let holes = [("GNU.sparse.size", "9000"), ("GNU.sparse.numblocks", "0"), ("GNU.sparse.map", "")];
    let holes = [&holes[..], &[("GNU.sparse.major", "0"), ("GNU.sparse.minor", "1")]].concat();
    let half = [&[("GNU.sparse.size", "5000")], &holes[1..]].concat();
    let link = Header { flag: b'2', ..Header::default() };
    let cases = [
        (file("zeros", &[0; 8192]), "inflated content"),
        (Header { size: i64::MAX, ..Header::default() }.bytes(), "inflated content"),
        ([pax(&[("size", "9223372036854775807")]), Header::default().bytes()].concat(), "inflated content"),
        ([pax(&holes), Header::default().bytes()].concat(), "inflated content"),
        ([pax(&half), Header::default().bytes(), pax(&half), Header::default().bytes()].concat(), "inflated content"),
        ([file("a", b""), end(), vec![7; 8192]].concat(), "inflated content"),
        (pax(&[("k", &"v".repeat(600))]), "an extended header"),
        (Header { flag: b'L', size: i64::MAX, ..Header::default() }.bytes(), "an extended header"),
        (global(&[("path", &name)]), "a file name"),
        ([pax(&[("path", &name)]), Header::default().bytes()].concat(), "a file name"),
        ([long(b'L', name.as_bytes()), Header::default().bytes()].concat(), "a file name"),
        ([long(b'K', name.as_bytes()), link.bytes()].concat(), "a file name"),
    ];
    for (at, (bytes, expected)) in cases.iter().enumerate() {
        let (_, result) = read_in(bytes, &[1000], &limits);
        assert!(matches!(&result, Err(Fault::TooLarge { what, .. }) if what == expected), "case {at}: {result:?}");
    }
    // A long link of a file is nobody's business.
    assert!(read_in(&[long(b'K', name.as_bytes()), Header::default().bytes()].concat(), &[99], &limits).1.is_ok());
}

#[test]
fn refuses_to_go_on_after_a_fault() {
    let mut archive = Archive::new(&Limits::default());
    let mut sink = Collector::default();
    archive.push(&[b'x'; BLOCK], &mut sink).expect_err("no header");
    archive.push(&file("a", b""), &mut sink).expect_err("already failed");
    archive.finish().expect_err("already failed");
    assert_eq!(sink.0, []);
}

#[test]
fn stops_when_the_sink_fails() {
    struct Full(usize);
    impl Sink for Full {
        type Error = &'static str;
        fn entry(&mut self, _: Entry) -> Result<(), Self::Error> {
            self.0 += 1;
            if self.0 == 2 { Err("full") } else { Ok(()) }
        }
        fn content(&mut self, _: u64, _: &[u8]) -> Result<(), Self::Error> {
            Ok(())
        }
        fn end_entry(&mut self) -> Result<(), Self::Error> {
            Ok(())
        }
    }
    let mut archive = Archive::new(&Limits::default());
    let mut sink = Full(0);
    let bytes = [file("a", b"x"), file("b", b"x"), file("c", b"x")].concat();
    assert!(matches!(archive.push(&bytes, &mut sink), Err(ArchiveError::Sink("full"))));
    assert_eq!(sink.0, 2);
}
