//! What a script can say: how to answer, and which requests that is for.

use super::record::Request;

/// A place in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// Not even the status line is sent.
    BeforeHead,
    /// The head is sent, and nothing of the body.
    AfterHead,
    /// So many bytes of the body are sent.
    Byte(usize),
    /// Half of the body is sent.
    Half,
    /// All but one byte of the body are sent.
    LastByte,
    /// The whole body is sent.
    End,
}

impl At {
    /// Every place where an answer can break before it is whole.
    pub(crate) const CLASSES: [Self; 5] =
        [Self::BeforeHead, Self::AfterHead, Self::Byte(1), Self::Half, Self::LastByte];

    /// Bytes of a body of this length that come before; `None` where not even the head does.
    pub(super) fn within(self, length: usize) -> Option<usize> {
        match self {
            Self::BeforeHead => None,
            Self::AfterHead => Some(0),
            Self::Byte(count) => Some(count.min(length)),
            Self::Half => Some(length / 2),
            Self::LastByte => Some(length.saturating_sub(1)),
            Self::End => Some(length),
        }
    }
}

/// How a connection ends before, or right after, an answer is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// In good order.
    Close,
    /// By RST; what is in buffers is lost.
    Reset,
    /// Not at all: nothing comes any more until the other side gives up.
    Hang,
}

/// What is wrong with a 206.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RangeLie {
    /// It starts one byte later than was asked for.
    First,
    /// It ends one byte later than was asked for.
    Last,
    /// The blob has one byte more than its descriptor says.
    Total,
    /// It does not say which range it is.
    Missing,
    /// It says nothing that can be read.
    Nonsense,
    /// The range is wrapped as `multipart/byteranges`.
    Multipart,
    /// The last byte comes before the first.
    Backwards,
}

/// How to answer one request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// As a good registry would.
    Honest,
    /// This status line, these headers, this body.
    Status(u16, Vec<(&'static str, String)>, &'static str),
    /// Promises the whole and ends the connection in good order after so many bytes.
    CutAfter(usize),
    /// Promises the whole and resets the connection after so many bytes.
    ResetAfter(usize),
    /// Promises the whole, sends so many bytes, and then nothing ever.
    HangAfter(usize),
    /// Promises the whole, and ends so there.
    Breaks(Ending, At),
    /// Sends nothing behind this place until [`super::Liar::open_gate`].
    Gated(At),
    /// So many bytes more than there should be.
    TooMuch(usize),
    /// The right number of bytes, one of them wrong: the one at this place of the body.
    Flipped(usize),
    /// The right number of bytes; the one at this place of the blob is wrong, if it is among them.
    FlippedInBlob(usize),
    /// 206 for another range than was asked for.
    WrongRange,
    /// 206 with something wrong about it; honest where no range was asked for.
    Lie(RangeLie),
    /// Less of the range than was asked for, as RFC 9110 allows, and the truth about it.
    ShorterRange,
    /// One byte of the range, and the truth about it.
    Crumb,
    /// The truth about the range, without the blob's size.
    UnknownTotal,
    /// 200 with the whole, whatever range was asked for.
    IgnoreRange,
    /// This ETag instead of the one that all other answers carry; `If-Range` is not minded.
    Etag(&'static str),
    /// So many bytes per second on this connection.
    Paced(u64),
}

impl Reply {
    /// A status with an empty body.
    pub(crate) fn status(code: u16) -> Self {
        Self::Status(code, Vec::new(), "")
    }
}

/// Which requests a reply is for.
#[derive(Debug, Clone, Default)]
pub(crate) struct When {
    part: String,
    covering: Option<usize>,
    ranged: bool,
    skip: usize,
}

impl When {
    /// Requests whose method and path contain `part` (`GET /v2/app/blobs/`).
    pub(crate) fn asked(part: &str) -> Self {
        Self { part: part.into(), ..Self::default() }
    }

    /// Only those whose range has this byte of the blob in it; those without a range have.
    pub(crate) fn covering(self, byte: usize) -> Self {
        Self { covering: Some(byte), ..self }
    }

    /// Only those with a range.
    pub(crate) fn with_range(self) -> Self {
        Self { ranged: true, ..self }
    }

    /// Not the first so many of them.
    pub(crate) fn after(self, skip: usize) -> Self {
        Self { skip, ..self }
    }

    fn fits(&self, request: &Request) -> bool {
        let covered = |byte: usize| {
            request.range().is_none_or(|(first, last)| first <= byte && last.is_none_or(|last| byte <= last))
        };
        request.line().contains(&self.part)
            && self.covering.is_none_or(covered)
            && (!self.ranged || request.range().is_some())
    }

    /// Whether this request is one of them; counts those that are skipped.
    pub(super) fn takes(&mut self, request: &Request) -> bool {
        if !self.fits(request) {
            return false;
        }
        let taken = self.skip == 0;
        self.skip = self.skip.saturating_sub(1);
        taken
    }
}

impl From<&str> for When {
    fn from(part: &str) -> Self {
        Self::asked(part)
    }
}

impl From<&String> for When {
    fn from(part: &String) -> Self {
        Self::asked(part)
    }
}
