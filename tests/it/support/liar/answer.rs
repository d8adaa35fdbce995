//! One answer before it is sent: the head as it is written, and the course that the body takes.

use bytes::Bytes;

use super::content::Content;
use super::record::Request;
use super::reply::{At, Ending, RangeLie, Reply};

const BOUNDARY: &str = "the-quay";

/// What goes over the wire.
pub(super) struct Answer {
    pub(super) status: u16,
    headers: String,
    pub(super) body: Body,
    /// HEAD: the head tells of a body that does not come.
    pub(super) head_only: bool,
    pub(super) pace: Option<u64>,
    pub(super) end: Option<(Ending, At)>,
    pub(super) gate: Option<At>,
}

/// The bytes behind the head.
pub(super) struct Body {
    before: Bytes,
    content: Option<(Content, usize, usize)>,
    after: Bytes,
    /// A byte of the content that is sent wrong, counted in the content.
    wrong: Option<usize>,
}

impl Body {
    fn text(text: impl Into<Bytes>) -> Self {
        Self { before: text.into(), content: None, after: Bytes::new(), wrong: None }
    }

    /// All bytes.
    pub(super) fn length(&self) -> usize {
        self.before.len() + self.content.as_ref().map_or(0, |(_, from, to)| to - from) + self.after.len()
    }

    /// Bytes from `at` on, which is within the body: at least one and at most `most`.
    pub(super) fn piece(&self, at: usize, most: usize) -> Bytes {
        let of = |bytes: &Bytes, at: usize| bytes.slice(at..bytes.len().min(at + most));
        if at < self.before.len() {
            return of(&self.before, at);
        }
        let at = at - self.before.len();
        let Some((content, from, to)) = &self.content else { return of(&self.after, at) };
        if at >= to - from {
            return of(&self.after, at - (to - from));
        }
        let start = from + at;
        let bytes = content.piece(start, most.min(to - start));
        match self.wrong.and_then(|wrong| wrong.checked_sub(start)) {
            Some(wrong) if wrong < bytes.len() => {
                let mut bent = bytes.to_vec();
                bent[wrong] ^= 1;
                bent.into()
            }
            _ => bytes,
        }
    }
}

impl Answer {
    /// A small JSON document.
    pub(super) fn text(status: u16, text: String) -> Self {
        let headers = "content-type: application/json\r\n".into();
        let body = Body::text(text);
        Self { status, headers, body, head_only: false, pace: None, end: None, gate: None }
    }

    /// The answer to a request as `reply` says, where there is such content.
    pub(super) fn new(request: &Request, reply: &Reply, content: Option<&Content>) -> Self {
        let mut answer = match (reply, content) {
            (Reply::Status(code, headers, text), _) => {
                let headers = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                Self { headers, ..Self::text(*code, (*text).into()) }
            }
            (_, Some(content)) => Self::content(request, reply, content),
            (_, None) => Self::text(404, "{}".into()),
        };
        answer.head_only = request.method == "HEAD";
        answer.end = match reply {
            Reply::CutAfter(count) => Some((Ending::Close, At::Byte(*count))),
            Reply::ResetAfter(count) => Some((Ending::Reset, At::Byte(*count))),
            Reply::HangAfter(count) => Some((Ending::Hang, At::Byte(*count))),
            Reply::Breaks(ending, at) => Some((*ending, *at)),
            _ => None,
        };
        match reply {
            Reply::Paced(rate) => answer.pace = Some(*rate),
            Reply::Gated(at) => answer.gate = Some(*at),
            _ => {}
        }
        answer
    }

    /// Status line and headers.
    pub(super) fn head(&self) -> String {
        format!("HTTP/1.1 {} x\r\n{}content-length: {}\r\n\r\n", self.status, self.headers, self.body.length())
    }

    fn content(request: &Request, reply: &Reply, content: &Content) -> Self {
        let size = content.size;
        let etag = match reply {
            Reply::Etag(etag) => (*etag).to_owned(),
            _ => content.digest.clone(),
        };
        let same = matches!(reply, Reply::Etag(_))
            || request.header("if-range").is_none_or(|wanted| wanted.trim_matches('"') == etag);
        let asked = request.range().filter(|(first, _)| *first < size && same && !matches!(reply, Reply::IgnoreRange));
        let asked = asked.map(|(first, last)| (first, last.unwrap_or(size - 1).min(size - 1)));
        let part = match (reply, asked) {
            (Reply::WrongRange, _) => Some(Part::honest((1, size - 1), size)),
            (_, None) => None,
            (Reply::Lie(lie), Some(range)) => Some(Part::lying(*lie, range, size)),
            (Reply::ShorterRange, Some((first, last))) => Some(Part::honest((first, first + (last - first) / 2), size)),
            (Reply::Crumb, Some((first, _))) => Some(Part::honest((first, first), size)),
            (Reply::UnknownTotal, Some(range)) => {
                let says = Some(format!("bytes {}-{}/*", range.0, range.1));
                Some(Part { says, ..Part::honest(range, size) })
            }
            (_, Some(range)) => Some(Part::honest(range, size)),
        };
        let status = if part.is_some() { 206 } else { 200 };
        let (from, to) = part.as_ref().map_or((0, size), |part| (part.first, part.last + 1));
        let wrong = match reply {
            Reply::Flipped(at) => Some(from + (*at).min(to - from - 1)),
            Reply::FlippedInBlob(at) => Some(*at),
            _ => None,
        };
        let after = if let Reply::TooMuch(extra) = reply { vec![b'!'; *extra] } else { Vec::new() };
        let body =
            Body { before: Bytes::new(), content: Some((content.clone(), from, to)), after: after.into(), wrong };
        let mut headers =
            format!("docker-content-digest: {}\r\naccept-ranges: bytes\r\netag: \"{etag}\"\r\n", content.digest);
        if let Some(says) = part.as_ref().and_then(|part| part.says.as_ref()) {
            headers += &format!("content-range: {says}\r\n");
        }
        let multipart = part.as_ref().is_some_and(|part| part.multipart);
        let (media_type, body) = if multipart { wrapped(content, body) } else { (content.media_type.clone(), body) };
        headers += &format!("content-type: {media_type}\r\n");
        Self { status, headers, ..Self::text(status, String::new()).with(body) }
    }

    fn with(self, body: Body) -> Self {
        Self { body, ..self }
    }
}

/// A range as it is sent, and what is said of it.
struct Part {
    first: usize,
    last: usize,
    says: Option<String>,
    multipart: bool,
}

impl Part {
    fn honest((first, last): (usize, usize), size: usize) -> Self {
        Self { first, last, says: Some(format!("bytes {first}-{last}/{size}")), multipart: false }
    }

    fn lying(lie: RangeLie, (first, last): (usize, usize), size: usize) -> Self {
        let truth = Self::honest((first, last), size);
        let says = |text: String| Self { says: Some(text), ..Self::honest((first, last), size) };
        match lie {
            RangeLie::First => Self::honest(((first + 1).min(last), last), size),
            // Where there is no byte more, the promise of one is the lie.
            RangeLie::Last if last + 1 == size => says(format!("bytes {first}-{size}/{size}")),
            RangeLie::Last => Self::honest((first, last + 1), size),
            RangeLie::Total => says(format!("bytes {first}-{last}/{}", size + 1)),
            RangeLie::Missing => Self { says: None, ..truth },
            RangeLie::Nonsense => says("some of it".into()),
            RangeLie::Multipart => Self { says: None, multipart: true, ..truth },
            RangeLie::Backwards => says(format!("bytes {last}-{first}/{size}")),
        }
    }
}

/// A range as one part of a multipart body.
fn wrapped(content: &Content, body: Body) -> (String, Body) {
    let (from, to) = body.content.as_ref().map_or((0, 0), |(_, from, to)| (*from, *to));
    let before = format!(
        "--{BOUNDARY}\r\ncontent-type: {}\r\ncontent-range: bytes {from}-{}/{}\r\n\r\n",
        content.media_type,
        to - 1,
        content.size
    );
    let after = format!("\r\n--{BOUNDARY}--\r\n");
    let media_type = format!("multipart/byteranges; boundary={BOUNDARY}");
    (media_type, Body { before: before.into(), after: after.into(), ..body })
}
