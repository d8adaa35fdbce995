use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use proptest::prelude::*;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::runtime::Runtime;

use super::super::{Inlet, Piece, between, read_and_inflate};
use super::*;
use crate::core::descriptor::MediaType;
use crate::unpack::inflate::PEEKED;

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const MEMORY: u32 = 64 << 20;

fn media_type() -> MediaType {
    MediaType::parse(GZIP)
}

fn member(content: &[u8]) -> Vec<u8> {
    packed(content, flate2::Compression::fast())
}

/// One that holds its content as it is, and begins as others do.
fn stored(content: &[u8]) -> Vec<u8> {
    packed(content, flate2::Compression::none())
}

fn packed(content: &[u8], level: flate2::Compression) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
    encoder.write_all(content).expect("compresses");
    encoder.finish().expect("compresses")
}

/// How all of them begin.
fn beginning() -> Vec<u8> {
    member(b"")[..PEEKED].to_vec()
}

/// Bytes that do not compress, others for every seed.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(next).take(length.div_ceil(8)).flatten().collect();
    bytes.truncate(length);
    bytes
}

/// Noise in which members seem to begin.
fn decoys(length: usize) -> Vec<u8> {
    noise(length, 7).chunks(LEAST / 3).flat_map(|chunk| [chunk, &beginning()].concat()).collect()
}

/// So many threads beside those that a layer has anyway.
fn helpers(spare: usize, memory: u32) -> (Cpu, Helpers) {
    let cpu = Cpu::with_threads(STAGES + spare);
    let helpers = Helpers::new(&cpu, &Budget::new(memory));
    (cpu, helpers)
}

/// Gives its bytes in pieces of such lengths, and now and then has none at hand.
struct Stutter {
    bytes: Vec<u8>,
    position: usize,
    lengths: Vec<usize>,
    turn: usize,
}

impl AsyncRead for Stutter {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        self.turn += 1;
        let length = self.lengths[self.turn % self.lengths.len()];
        if length == 0 {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let end = self.bytes.len().min(self.position + length.min(buffer.remaining()));
        buffer.put_slice(&self.bytes[self.position..end]);
        self.position = end;
        Poll::Ready(Ok(()))
    }
}

fn source(bytes: &[u8], lengths: &[usize]) -> Source {
    Source::Stored(Box::pin(Stutter { bytes: bytes.to_vec(), position: 0, lengths: lengths.to_vec(), turn: 0 }))
}

async fn collect(inlet: Inlet) -> Vec<u8> {
    let Inlet { mut pieces, returned } = inlet;
    let mut all = Vec::new();
    while let Some(Piece::Bytes(bytes)) = pieces.recv().await {
        all.extend_from_slice(&bytes);
        let _ = returned.try_send(bytes);
    }
    all
}

/// What the first stage makes of a layer.
async fn inflate(source: Source, helpers: Helpers) -> Result<Vec<u8>, String> {
    let (outlet, inlet) = between();
    let reading = read_and_inflate(source, media_type(), outlet, helpers);
    let ((_, inflated), all) = tokio::join!(reading, collect(inlet));
    inflated.map(|()| all).map_err(|error| error.to_string())
}

/// A layer that goes step by step, so that helpers have always begun when a segment's turn comes.
struct Steps<'a> {
    ahead: Ahead<'a>,
    source: Source,
    inflating: Inflating,
    input: Vec<u8>,
}

impl<'a> Steps<'a> {
    async fn begin(helpers: &'a Helpers, layer: &[u8], outlet: super::super::Outlet) -> Option<Self> {
        let mut source = source(layer, &[INPUT]);
        let mut inflating = Inflating::new(&media_type(), outlet).await.expect("a buffer");
        let mut input = vec![0; INPUT];
        let count = source.read(&mut input).await.expect("memory");
        inflating.push(&input[..count]).await.expect("inflates");
        Some(Self { ahead: Ahead::begin(helpers, &inflating)?, source, inflating, input })
    }

    /// One segment, if there is one.
    async fn step(&mut self) -> bool {
        self.ahead.look_ahead(&mut self.source, &mut self.input).expect("memory");
        for segment in &self.ahead.segments {
            while Arc::weak_count(&segment.work) > 0 && segment.work.lock().expect("lives").is_some() {
                std::thread::yield_now();
            }
        }
        let Some(segment) = self.ahead.segments.pop_front() else { return false };
        self.ahead.take(segment, &mut self.inflating).await.expect("inflates");
        true
    }

    async fn finish(mut self) -> (usize, usize) {
        self.ahead.run(&mut self.source, &mut self.input, &mut self.inflating).await.expect("inflates");
        let counts = (self.ahead.hits, self.ahead.misses);
        drop(self.ahead);
        loop {
            match self.source.read(&mut self.input).await.expect("memory") {
                0 => break,
                count => self.inflating.push(&self.input[..count]).await.expect("inflates"),
            }
        }
        self.inflating.finish().await.expect("is whole");
        counts
    }
}

/// Hits and misses while all steps are taken until some number of misses, and in all; and what
/// came out.
async fn stepped(layer: &[u8], helpers: &Helpers, misses: usize) -> ([(usize, usize); 2], Vec<u8>) {
    let (outlet, inlet) = between();
    let steps = async {
        let mut steps = Steps::begin(helpers, layer, outlet).await.expect("several members");
        while steps.ahead.misses < misses && steps.step().await {}
        let first = (steps.ahead.hits, steps.ahead.misses);
        [first, steps.finish().await]
    };
    tokio::join!(steps, collect(inlet))
}

#[tokio::test]
async fn helpers_inflate_what_is_ahead() {
    let content: Vec<_> = (0..40).map(|seed| noise(150_000, seed)).collect();
    let layer: Vec<u8> = content.iter().flat_map(|content| member(content)).collect();
    let (_cpu, helpers) = helpers(4, MEMORY);
    let ([steps, all], inflated) = stepped(&layer, &helpers, 1).await;
    assert!(inflated == content.concat());
    // Two members in each segment, but for those before the first that begins with one, and the
    // last ones, which nothing follows.
    assert_eq!((steps, all), ((17, 0), (17, 0)));
    assert_eq!(helpers.budget.used(), 0, "all memory is given back");
}

#[tokio::test]
async fn a_layer_that_deceives_is_given_up() {
    let content = [noise(1000, 1), decoys(40 * LEAST)];
    let layer: Vec<u8> = content.iter().flat_map(|content| stored(content)).collect();
    assert!(memmem::find_iter(&layer, &beginning()).count() > 100, "the decoys are there to be seen");
    let (_cpu, helpers) = helpers(4, MEMORY);
    let ([steps, all], inflated) = stepped(&layer, &helpers, MISSES).await;
    assert!(inflated == content.concat());
    assert_eq!(steps, (0, MISSES));
    assert!(all.1 <= MISSES + SEGMENTS, "{all:?}: it goes on");
}

#[tokio::test]
async fn a_helper_stops_where_there_is_too_much_and_the_rest_comes_in_turn() {
    let content = [noise(1000, 1), b"barge".repeat(2 << 20), noise(2 * MOST, 2)];
    let layer = content.iter().flat_map(|content| member(content)).collect::<Vec<_>>();
    let (_cpu, helpers) = helpers(2, MEMORY);
    let work = Work { input: member(&content[1]), _memory: helpers.reserve(SEGMENT).expect("is free") };
    let inflated = work.inflate();
    assert_eq!(inflated.output.iter().map(Vec::len).sum::<usize>(), OUTPUTS * BUFFER);
    assert!(inflated.consumed < inflated.work.input.len() && inflated.inflater.is_ok());
    assert!(inflate(source(&layer, &[INPUT]), helpers).await == Ok(content.concat()));
}

#[tokio::test]
async fn without_threads_or_memory_to_spare_nothing_is_done_ahead() {
    let content = [noise(400_000, 1), noise(400_000, 2), noise(400_000, 3)];
    let layer: Vec<u8> = content.iter().flat_map(|content| member(content)).collect();
    let window = u32::try_from(WINDOW).expect("small");
    for (spare, memory) in [(0, MEMORY), (4, 0), (4, window * 8 / 3 + 8)] {
        let (_cpu, helpers) = helpers(spare, memory);
        assert!(inflate(source(&layer, &[INPUT]), helpers.clone()).await == Ok(content.concat()));
        let (outlet, _inlet) = between();
        if let Some(mut steps) = Steps::begin(&helpers, &layer, outlet).await {
            assert_eq!((spare, memory > window), (4, true), "there was room for the window");
            assert!(!steps.step().await, "there was no room for a segment");
        }
    }
}

#[tokio::test]
async fn one_member_is_nothing_to_look_ahead_in() {
    let (_cpu, helpers) = helpers(4, MEMORY);
    let layer = stored(&decoys(8 * LEAST));
    let (outlet, inlet) = between();
    let (begun, _) = tokio::join!(async { Steps::begin(&helpers, &layer, outlet).await.is_some() }, collect(inlet));
    assert!(!begun);
    assert_eq!(helpers.budget.used(), 0);
}

#[test]
fn segments_end_before_members() {
    let beginning = beginning();
    let with = |length: usize, places: &[usize]| {
        let mut window = vec![0; length];
        places.iter().for_each(|&at| window[at..at + PEEKED].copy_from_slice(&beginning));
        end_of_segment(&window, &beginning)
    };
    assert_eq!(with(0, &[]), None);
    assert_eq!(with(LEAST, &[]), None);
    assert_eq!(with(2 * LEAST, &[0, 100, LEAST - 1]), None, "too short");
    assert_eq!(with(2 * LEAST, &[0, LEAST, LEAST + 100]), Some(LEAST));
    assert_eq!(with(WINDOW, &[MOST + 1]), Some(MOST + 1));
    assert_eq!(with(MOST - 1, &[]), None, "one may come yet");
    assert_eq!(with(MOST, &[]), Some(MOST));
}

/// What a member holds.
#[derive(Debug, Clone)]
enum Content {
    Nothing,
    Noise(usize),
    Text(usize),
    /// What shrinks to a small part.
    Thin(usize),
    /// Members of their own.
    Nested(usize),
    /// So many small members in place of one.
    Crowd(usize),
}

impl Content {
    fn members(&self, seed: u64) -> Vec<u8> {
        let words: [&[u8]; 4] = [b"cargo ", b"quay ", b"tide table ", b"wharf "];
        match *self {
            Self::Nothing => member(b""),
            Self::Noise(length) => member(&noise(length, seed)),
            Self::Text(length) => {
                let choices = noise(length / 4, seed);
                member(&choices.iter().flat_map(|choice| words[usize::from(choice % 4)]).copied().collect::<Vec<_>>())
            }
            Self::Thin(length) => member(
                &noise(length / 8, seed).chunks(500).flat_map(|chunk| [chunk, &[0; 8000]].concat()).collect::<Vec<_>>(),
            ),
            Self::Nested(length) => {
                stored(&[member(&noise(length / 2, seed)), member(&noise(length / 2, seed + 1))].concat())
            }
            Self::Crowd(length) => noise(length, seed)
                .chunks(900)
                .map(|chunk| member(&chunk[..chunk.len() / 3]))
                .collect::<Vec<_>>()
                .concat(),
        }
    }
}

fn contents() -> impl Strategy<Value = Vec<Content>> {
    let one = (0..6, 1..900_000_usize).prop_map(|(kind, length)| match kind {
        0 => Content::Nothing,
        1 => Content::Noise(length),
        2 => Content::Text(3 * length),
        3 => Content::Thin(length),
        4 => Content::Nested(length),
        _ => Content::Crowd(length),
    });
    proptest::collection::vec(one, 2..12)
}

/// How a layer is damaged.
#[derive(Debug, Clone)]
enum Damage {
    None,
    CutOff(f64),
    Garbage,
    Flipped(f64),
}

impl Damage {
    fn done_to(&self, layer: &mut Vec<u8>) {
        let length = layer.len();
        let at = |part: f64| ((length as f64 * part) as usize).min(length - 1);
        match *self {
            Self::None => {}
            Self::CutOff(part) => layer.truncate(at(part)),
            Self::Garbage => layer.extend_from_slice(b"padding, which is no member"),
            Self::Flipped(part) => {
                let at = at(part);
                layer[at] ^= 0x10;
            }
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        3 => Just(Damage::None),
        1 => (0.0..1.0).prop_map(Damage::CutOff),
        1 => Just(Damage::Garbage),
        1 => (0.0..1.0).prop_map(Damage::Flipped),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn helpers_change_nothing(
        contents in contents(),
        damage in damage(),
        lengths in proptest::collection::vec(prop_oneof![Just(0), Just(INPUT), 1..INPUT], 1..6),
        memory in prop_oneof![Just(MEMORY), Just(20 << 20)],
    ) {
        let mut layer: Vec<u8> = contents.iter().zip(0..).flat_map(|(content, seed)| content.members(seed)).collect();
        damage.done_to(&mut layer);
        let lengths = [lengths, vec![INPUT / 2]].concat();
        let runtime = Runtime::new().expect("threads");
        let run = |memory| {
            let (cpu, helpers) = helpers(4, memory);
            let budget = helpers.budget.clone();
            // As in the daemon, where the stages are on the pool as well.
            let stage = cpu.spawn(Priority::layer(0), inflate(source(&layer, &lengths), helpers));
            let inflated = runtime.block_on(stage);
            drop(cpu);
            assert_eq!(budget.used(), 0);
            inflated
        };
        let alone = run(0);
        prop_assert!(run(memory) == alone, "{:?}", alone.map(|bytes| bytes.len()));
    }
}
