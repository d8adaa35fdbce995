//! ELF files for tests, made byte by byte: any machine, any segments, any sections.

/// One file.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    machine: u16,
    wide: bool,
    big: bool,
    kind: u16,
    flags: u32,
    entry: u64,
    os_abi: u8,
    segments: Vec<Segment>,
    sections: Vec<(u32, Vec<u8>)>,
    filler: usize,
}

#[derive(Debug, Clone)]
struct Segment {
    kind: u32,
    permissions: u32,
    align: u64,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    /// Content that is put somewhere.
    Holds(Vec<u8>),
    /// Offset, address and size, without content of its own.
    At(u64, u64, u64),
}

impl Sample {
    /// An executable of an architecture, by its Go name, with one segment of code.
    pub(crate) fn of(architecture: &str) -> Self {
        let (machine, wide, big, flags) = match architecture {
            "386" => (3, false, false, 0),
            "amd64" => (62, true, false, 0),
            "arm" => (40, false, false, 0x0500_0000),
            "arm64" => (183, true, false, 0),
            "loong64" => (258, true, false, 0x43),
            "mips64le" => (8, true, false, 0x8000_0007),
            "ppc64le" => (21, true, false, 2),
            "riscv64" => (243, true, false, 5),
            "s390x" => (22, true, true, 0),
            other => panic!("no sample of {other}"),
        };
        let (segments, sections) = (Vec::new(), Vec::new());
        let sample =
            Self { machine, wide, big, kind: 2, flags, entry: 0x40_0100, os_abi: 0, segments, sections, filler: 0 };
        sample.load([0, 0x40_0000, 0x200], 5, 0x1_0000)
    }

    pub(crate) fn flags(self, flags: u32) -> Self {
        Self { flags, ..self }
    }

    pub(crate) fn kind(self, kind: u16) -> Self {
        Self { kind, ..self }
    }

    pub(crate) fn entry(self, entry: u64) -> Self {
        Self { entry, ..self }
    }

    /// So many bytes between what is loaded and what only linkers read.
    pub(crate) fn filler(self, filler: usize) -> Self {
        Self { filler, ..self }
    }

    pub(crate) fn without_segments(mut self) -> Self {
        self.segments.clear();
        self
    }

    /// A `PT_LOAD` that only says where it lies: offset, address, size.
    pub(crate) fn load(mut self, [offset, address, size]: [u64; 3], permissions: u32, align: u64) -> Self {
        self.segments.push(Segment { kind: 1, permissions, align, place: Place::At(offset, address, size) });
        self
    }

    /// A segment with content.
    pub(crate) fn holding(mut self, kind: u32, permissions: u32, align: u64, content: &[u8]) -> Self {
        self.segments.push(Segment { kind, permissions, align, place: Place::Holds(content.to_vec()) });
        self
    }

    pub(crate) fn interpreter(self, path: &str) -> Self {
        self.holding(3, 4, 1, &[path.as_bytes(), b"\0"].concat())
    }

    /// A note that demands levels of x86-64, one bit for each.
    pub(crate) fn x86_note(self, bits: u32) -> Self {
        self.holding(0x6474_e553, 4, 8, &isa_note(bits))
    }

    /// Writable data with Go's description of a build.
    pub(crate) fn go(self, version: &str, settings: &[(&str, &str)]) -> Self {
        self.holding(1, 6, 0x1_0000, &go_description(version, settings))
    }

    /// Build attributes of ARM: tags and their numbers.
    pub(crate) fn arm_attributes(mut self, tags: &[(u8, u8)]) -> Self {
        let tags: Vec<u8> =
            [5, b'v', 0].into_iter().chain(tags.iter().flat_map(|(tag, value)| [*tag, *value])).collect();
        self.sections.push((0x7000_0003, attributes(b"aeabi", &tags, self.big)));
        self
    }

    /// The architecture string of RISC-V.
    pub(crate) fn riscv_arch(mut self, arch: &str) -> Self {
        let tags = [&[4, 16, 5], arch.as_bytes(), &[0]].concat();
        self.sections.push((0x7000_0003, attributes(b"riscv", &tags, self.big)));
        self
    }

    /// The file. Headers first, then contents of segments at multiples of 16, filler, sections,
    /// and the headers of sections last.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let (header, entry) = if self.wide { (64, 56) } else { (52, 32) };
        let mut body: Vec<u8> = Vec::new();
        let start = (header + entry * self.segments.len()).next_multiple_of(16);
        let mut put = |content: &[u8]| {
            let at = start + body.len();
            body.extend_from_slice(content);
            body.resize(body.len().next_multiple_of(16), 0);
            at as u64
        };
        let mut table = Vec::new();
        for segment in &self.segments {
            let (offset, address, size) = match &segment.place {
                Place::Holds(content) => {
                    let at = put(content);
                    (at, at + 0x50_0000, content.len() as u64)
                }
                Place::At(offset, address, size) => (*offset, *address, *size),
            };
            self.word(&mut table, segment.kind);
            if self.wide {
                self.word(&mut table, segment.permissions);
            }
            for value in [offset, address, address, size, size] {
                self.address(&mut table, value);
            }
            if !self.wide {
                self.word(&mut table, segment.permissions);
            }
            self.address(&mut table, segment.align);
        }
        put(&vec![0; self.filler]);
        let mut sections = Vec::new();
        for (kind, content) in &self.sections {
            let at = put(content);
            self.words(&mut sections, &[0, *kind]);
            for value in [0, 0, at, content.len() as u64] {
                self.address(&mut sections, value);
            }
            self.words(&mut sections, &[0, 0]);
            self.address(&mut sections, 1);
            self.address(&mut sections, 0);
        }
        let end = put(&sections);
        let mut file = self.header(if sections.is_empty() { 0 } else { end });
        file.extend(table);
        file.resize(start, 0);
        file.extend(body);
        file
    }

    fn header(&self, sections: u64) -> Vec<u8> {
        let mut file = b"\x7fELF".to_vec();
        file.extend([1 + u8::from(self.wide), 1 + u8::from(self.big), 1, self.os_abi, 0, 0, 0, 0, 0, 0, 0, 0]);
        self.halves(&mut file, &[self.kind, self.machine]);
        self.word(&mut file, 1);
        let (header, entry, section) = if self.wide { (64, 56, 64) } else { (52, 32, 40) };
        for value in [self.entry, u64::from(header), sections] {
            self.address(&mut file, value);
        }
        self.word(&mut file, self.flags);
        let count = |items: usize| u16::try_from(items).expect("few");
        self.halves(&mut file, &[header, entry, count(self.segments.len()), section, count(self.sections.len()), 0]);
        file
    }

    fn address(&self, out: &mut Vec<u8>, value: u64) {
        match (self.wide, self.big) {
            (true, true) => out.extend(value.to_be_bytes()),
            (true, false) => out.extend(value.to_le_bytes()),
            (false, _) => self.word(out, u32::try_from(value).expect("an address of 32 bits")),
        }
    }

    fn word(&self, out: &mut Vec<u8>, value: u32) {
        out.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
    }

    fn words(&self, out: &mut Vec<u8>, values: &[u32]) {
        values.iter().for_each(|value| self.word(out, *value));
    }

    fn halves(&self, out: &mut Vec<u8>, values: &[u16]) {
        for value in values {
            out.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
        }
    }
}

pub(crate) fn isa_note(levels: u32) -> Vec<u8> {
    let words = [4, 16, 5, u32::from_le_bytes(*b"GNU\0"), 0xc000_8002, 4, levels, 0];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// As Go 1.18 and later write it.
pub(crate) fn go_description(version: &str, settings: &[(&str, &str)]) -> Vec<u8> {
    let mut modules = vec![b'<'; 16];
    modules.extend(b"path\texample.com/app\nmod\texample.com/app\t(devel)\t\nbuild\t-compiler=gc\n");
    for (name, value) in settings {
        modules.extend(format!("build\t{name}={value}\n").into_bytes());
    }
    modules.extend([b'>'; 16]);
    let mut bytes = b"\xff Go buildinf:\x08\x02".to_vec();
    bytes.resize(32, 0);
    for text in [version.as_bytes(), &modules] {
        let mut length = text.len();
        while length >= 0x80 {
            bytes.push(length as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.extend_from_slice(text);
    }
    bytes
}

fn attributes(vendor: &[u8], tags: &[u8], big: bool) -> Vec<u8> {
    let number = |value: usize| if big { (value as u32).to_be_bytes() } else { (value as u32).to_le_bytes() };
    let file = [&[1][..], &number(tags.len() + 5), tags].concat();
    let part = [vendor, &[0], &file].concat();
    [&b"A"[..], &number(part.len() + 4), &part].concat()
}
