//! What a registry of ours has, what it demands, and what it is told to do wrong.

use std::collections::{HashMap, VecDeque};

use super::super::fixture::Image;
use super::answer::Answer;
use super::content::{Content, Flood};
use super::record::Request;
use super::reply::{Reply, When};

/// What comes before a signature in a query.
const SIGNATURE: &str = "signature=";

/// Everything that decides about an answer.
#[derive(Default)]
pub(super) struct Script {
    pub(super) images: Vec<(String, String, Image)>,
    pub(super) floods: Vec<Flood>,
    plans: Vec<Plan>,
    pub(super) requests: Vec<Request>,
    pub(super) connections: usize,
    pub(super) open: usize,
    pub(super) wants_basic: Option<String>,
    pub(super) tokens: Option<Passes>,
    pub(super) signatures: Option<Passes>,
    /// Where blobs are, and who hands out signatures for them.
    pub(super) storage: Option<(String, usize)>,
    /// Requests for blobs that are answered at a time, and the answer to all others.
    pub(super) limit: Option<(usize, Reply)>,
    pub(super) busy: usize,
    pub(super) busiest: usize,
    pub(super) gate_is_open: bool,
}

/// Some requests and the replies that they get.
struct Plan {
    when: When,
    once: VecDeque<Reply>,
    always: Option<Reply>,
}

/// Tokens or signatures, each good for so many requests.
pub(super) struct Passes {
    uses: usize,
    issued: usize,
    used: HashMap<usize, usize>,
    /// Those up to here are good for nothing any more.
    revoked: usize,
}

impl Passes {
    pub(super) fn new(uses: usize) -> Self {
        Self { uses, issued: 0, used: HashMap::new(), revoked: 0 }
    }

    pub(super) fn revoke(&mut self) {
        self.revoked = self.issued;
    }

    fn issue(&mut self) -> usize {
        self.issued += 1;
        self.issued
    }

    /// Takes a pass, if it is good.
    fn takes(&mut self, pass: Option<usize>) -> bool {
        let Some(pass) = pass else { return false };
        // Signatures are issued by another registry than the one that takes them.
        self.issued = self.issued.max(pass);
        let used = self.used.entry(pass).or_default();
        *used += 1;
        *used <= self.uses && pass > self.revoked
    }
}

impl Script {
    #[cfg(feature = "containerd")]
    pub(super) fn forget_plans(&mut self) -> Vec<Reply> {
        self.plans.drain(..).flat_map(|plan| plan.once).collect()
    }

    pub(super) fn plan(&mut self, when: When, replies: impl IntoIterator<Item = Reply>) {
        self.plans.push(Plan { when, once: replies.into_iter().collect(), always: None });
    }

    pub(super) fn always(&mut self, when: When, reply: Reply) {
        self.plans.push(Plan { when, once: VecDeque::new(), always: Some(reply) });
    }

    /// Planned replies that nobody has got yet.
    pub(super) fn unused(&self) -> usize {
        self.plans.iter().map(|plan| plan.once.len()).sum()
    }

    /// How to answer a request. One that [counts as busy](is_transfer) is counted here.
    pub(super) fn decide(&mut self, request: &Request) -> Answer {
        if let Some(answer) = self.demand(request) {
            return answer;
        }
        if is_transfer(request)
            && let Some((most, refusal)) = self.limit.clone()
            && self.busy > most
        {
            return Answer::new(request, &refusal, None);
        }
        let reply = self.planned(request);
        if let (Reply::Honest, Some((storage, number))) = (&reply, &mut self.storage)
            && is_transfer(request)
        {
            *number += 1;
            let path = request.path.split('?').next().unwrap_or_default();
            let location = format!("http://{storage}{path}?{SIGNATURE}{number}");
            return Answer::new(request, &Reply::Status(307, vec![("location", location)], ""), None);
        }
        if path_of(request).is_empty() {
            let ping = if matches!(reply, Reply::Honest) { Reply::status(200) } else { reply };
            return Answer::new(request, &ping, None);
        }
        let content = self.content(request);
        Answer::new(request, &reply, content.as_ref())
    }

    /// The answer to a request that lacks what this registry demands, or that asks for it.
    fn demand(&mut self, request: &Request) -> Option<Answer> {
        let refuse = |code: u16, headers: Vec<(&'static str, String)>| {
            Some(Answer::new(request, &Reply::Status(code, headers, "{}"), None))
        };
        let for_token = self.tokens.is_some() && request.path.starts_with("/token");
        let planned = if for_token { self.planned(request) } else { Reply::Honest };
        if let Some(tokens) = &mut self.tokens {
            if for_token {
                return Some(match planned {
                    Reply::Honest => {
                        let number = tokens.issue();
                        Answer::text(200, format!("{{\"token\":\"token-{number}\",\"expires_in\":300}}"))
                    }
                    wrong => Answer::new(request, &wrong, None),
                });
            }
            let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer token-"));
            let sent = token.is_some();
            if !tokens.takes(token.and_then(|number| number.parse().ok())) {
                let here = request.header("host").unwrap_or_default();
                let error = if sent { ",error=\"invalid_token\"" } else { "" };
                let challenge = format!("Bearer realm=\"http://{here}/token\",service=\"liar\"{error}");
                return refuse(401, vec![("www-authenticate", challenge)]);
            }
        }
        if let Some(wanted) = &self.wants_basic
            && request.header("authorization") != Some(wanted)
        {
            return refuse(401, vec![("www-authenticate", "Basic realm=\"liar\"".into())]);
        }
        if let Some(signatures) = &mut self.signatures {
            let signature = request.path.split_once(SIGNATURE).and_then(|(_, number)| number.parse().ok());
            if !signatures.takes(signature) {
                return refuse(403, Vec::new());
            }
        }
        None
    }

    fn planned(&mut self, request: &Request) -> Reply {
        let reply = |plan: &mut Plan| {
            let taken = (!plan.once.is_empty() || plan.always.is_some()) && plan.when.takes(request);
            if taken { plan.once.pop_front().or_else(|| plan.always.clone()) } else { None }
        };
        self.plans.iter_mut().find_map(reply).unwrap_or(Reply::Honest)
    }

    fn content(&self, request: &Request) -> Option<Content> {
        let path = path_of(request);
        let [target, kind, repository] = path.rsplitn(3, '/').collect::<Vec<_>>()[..] else { return None };
        if kind == "blobs"
            && let Some(flood) = self.floods.iter().find(|flood| flood.digest == target)
        {
            return Some(flood.into());
        }
        let mut images = self.images.iter().filter(|(name, ..)| name == repository);
        images.find_map(|(_, tag, image)| match kind {
            "manifests" if target == tag => Some((&image.root).into()),
            "manifests" => image.documents.iter().chain([&image.root]).find(|b| b.digest == target).map(Content::from),
            _ => image.blobs().into_iter().find(|b| b.digest == target).map(Content::from),
        })
    }
}

/// The path behind `/v2/`, without its query.
fn path_of(request: &Request) -> &str {
    request.path.split('?').next().unwrap_or_default().trim_start_matches("/v2/")
}

/// Whether a request is for the bytes of a blob.
pub(super) fn is_transfer(request: &Request) -> bool {
    request.method == "GET" && request.path.contains("/blobs/")
}
