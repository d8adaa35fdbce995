//! Which addresses may be connected to for whom.
//!
//! A host that a person configured, or that an image is named after, may be anywhere. One that
//! only a request to the mirror names must be on the public internet and not be this node, or
//! whoever can send us requests could have us knock at doors that are open to this node alone: its
//! own daemons, a cloud's metadata service, the neighbours. And whom a registry leads us to, by a
//! redirect, the `realm` of its token server or the `Location` of an upload, must not be this node
//! or its own link, unless the registry itself is there. Private networks are another matter: the
//! storage and the token server of a company's registry are in one.
//!
//! The address that is connected to is what counts, not what a name meant a moment before, so
//! names are judged where they are resolved for the connection.
//!
//! Behind a proxy of the environment it is the proxy that resolves names and connects. Before it
//! is asked for a name, the name is resolved here as well, and refused where that leads to a
//! single address that is out of reach. What this node cannot resolve, or the proxy resolves to
//! something else, only the proxy can refuse. Nor is it known here which public address of
//! somebody else's is translated to this node.
//!
//! Registries: IANA's special-purpose address registries for IPv4 and IPv6. Where clouds tell a
//! node of itself is in their own documents.

use std::error::Error as StdError;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// How long a name is looked up only to judge it, before a proxy does so: where names are the
/// proxy's affair, this node may have no server to ask.
const LOOK_UP: Duration = Duration::from_secs(2);

/// Where a host, or somebody whom it leads us to, may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Reach {
    /// Anywhere: an operator vouches for the host, or the image is named after it.
    #[default]
    Anywhere,
    /// At public addresses only.
    Public,
    /// Neither on this node nor near it, but for what is as near as the host itself.
    Elsewhere(Option<Near>),
}

/// What this node reaches, and a registry elsewhere should not by way of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Near {
    /// This node itself.
    Node,
    /// Its own link.
    Link,
    /// Where a cloud tells a node of itself, its passwords included.
    Metadata,
}

/// A place that we must not be led to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place} is out of reach")]
pub(super) struct OutOfReach {
    /// The address, with its name where it was resolved.
    pub(super) place: String,
    /// What it is not within.
    pub(super) reach: Reach,
}

impl Reach {
    /// Judges a URL before anybody is asked: as far as it names an address, and where a proxy
    /// would look up its name, as far as this node can tell.
    pub(super) async fn judge(self, url: &Url) -> Result<(), OutOfReach> {
        if self == Self::Anywhere {
            return Ok(());
        }
        let text = url.host_str().unwrap_or_default();
        match text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(address) if self.allows(address) => Ok(()),
            Ok(_) => Err(self.bars(text.to_owned())),
            // It is resolved for the sake of others, and must not be reached under its own name.
            Err(_) if is_proxy(text) && self == Self::Public => Err(self.bars(text.to_owned())),
            Err(_) if is_proxy(text) || self.asks_proxies_about(url) => self.judge_name(text).await,
            // Else it is judged where it is resolved for the connection.
            Err(_) => Ok(()),
        }
    }

    /// Whether a proxy might resolve the name to what is barred, and get an answer from there.
    fn asks_proxies_about(self, url: &Url) -> bool {
        // What is near, daemons and metadata services, has no certificate for a name of elsewhere.
        (self == Self::Public || url.scheme() == "http") && proxies().next().is_some()
    }

    /// Judges a name by all that it leads to from here; one that leads nowhere from here passes.
    async fn judge_name(self, name: &str) -> Result<(), OutOfReach> {
        let Ok(Ok(mut found)) = tokio::time::timeout(LOOK_UP, tokio::net::lookup_host((name, 0))).await else {
            return Ok(());
        };
        match found.find(|address| !self.allows(address.ip())) {
            Some(address) => Err(self.bars(format!("{name} ({})", address.ip()))),
            None => Ok(()),
        }
    }

    fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Public => is_public(address),
            Self::Elsewhere(own) => Near::of(address).is_none_or(|near| Some(near) == own),
        }
    }

    fn bars(self, place: String) -> OutOfReach {
        OutOfReach { place, reach: self }
    }
}

impl Near {
    /// How near an address is; `None` for one that leads to other machines, as far as it shows.
    pub(super) fn of(address: IpAddr) -> Option<Self> {
        match reached(address) {
            IpAddr::V4(address) => match address.octets() {
                [0 | 127, ..] => Some(Self::Node),
                // Most clouds; their containers; Alibaba, Oracle, Azure.
                [169, 254, 169, 254]
                | [169, 254, 170, _]
                | [100, 100, 100, 200]
                | [192, 0, 0, 192]
                | [168, 63, 129, 16] => Some(Self::Metadata),
                [169, 254, ..] => Some(Self::Link),
                _ => None,
            },
            IpAddr::V6(address) => match address.segments() {
                // Unspecified, loopback, and what IPv4 addresses were once written as.
                [0, 0, 0, 0, 0, 0, ..] => Some(Self::Node),
                // AWS, Google.
                [0xfd00, 0xec2, ..] | [0xfd20, 0xce, ..] => Some(Self::Metadata),
                [0xfe80..=0xfebf, ..] => Some(Self::Link),
                _ => None,
            },
        }
    }
}

/// Resolves names to what is within reach.
#[derive(Debug)]
pub(super) struct Names(pub(super) Reach);

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let first = found.first().map(|address| address.ip());
            let allowed: Vec<SocketAddr> = match is_proxy(name.as_str()) {
                true => found,
                false => found.into_iter().filter(|address| reach.allows(address.ip())).collect(),
            };
            match first {
                Some(address) if allowed.is_empty() => Err(reach.bars(format!("{} ({address})", name.as_str())).into()),
                _ => Ok::<Addrs, Box<dyn StdError + Send + Sync>>(Box::new(allowed.into_iter())),
            }
        })
    }
}

/// The proxies of the environment.
fn proxies() -> impl Iterator<Item = Url> {
    let names = ["http_proxy", "https_proxy", "all_proxy"];
    let values = names.into_iter().flat_map(|key| [std::env::var(key), std::env::var(key.to_uppercase())]);
    values.flatten().filter(|value| !value.is_empty()).filter_map(|value| {
        let full = if value.contains("://") { value } else { format!("http://{value}") };
        Url::parse(&full).ok()
    })
}

/// Whether the environment names this host as a proxy.
fn is_proxy(name: &str) -> bool {
    proxies().any(|url| url.host_str().is_some_and(|host| host.eq_ignore_ascii_case(name)))
}

/// Whether an address is one of the internet at large, and not this node's.
fn is_public(address: IpAddr) -> bool {
    is_public_beside(address, own_addresses)
}

fn is_public_beside(address: IpAddr, own: impl FnOnce() -> Vec<IpAddr>) -> bool {
    let address = reached(address);
    is_global(address) && !own().contains(&address)
}

/// The addresses of this node's interfaces; none where the kernel does not say.
fn own_addresses() -> Vec<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let addresses = interfaces.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    });
    addresses.collect()
}

/// Whether an address is assigned to the internet at large.
fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_global_v4(address),
        IpAddr::V6(address) => is_global_v6(address),
    }
}

/// The address that is reached by another one which leads back to IPv4: mapped, translated by
/// NAT64, or 6to4.
fn reached(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        _ => address,
    }
}

fn is_global_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        // This network, private use, shared by carriers, this machine, the link, private use.
        (0 | 10 | 127, _, _) | (100, 64..=127, _) | (169, 254, _) | (172, 16..=31, _) | (192, 168, _)
        // Protocol assignments, documentation, benchmarks.
        | (192, 0, 0 | 2) | (198, 18..=19, _) | (198, 51, 100) | (203, 0, 113)
        // Multicast, reserved, broadcast.
        | (224..=255, _, _)
    )
}

/// Global unicast, but for what is set apart in it.
fn is_global_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // Protocol assignments with Teredo, documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => (0x2000..0x4000).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_public_addresses_from_all_others() {
        let public = [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "128.0.0.1",
            "169.253.1.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.1.1",
            "198.17.1.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "2001:200::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
        ];
        let others = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:a00:1::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ];
        for (addresses, expected) in [(&public[..], true), (&others[..], false)] {
            for text in addresses {
                assert_eq!(is_global(reached(text.parse().expect("an address"))), expected, "{text}");
            }
        }
    }

    #[test]
    fn a_node_is_not_public_to_itself() {
        let own = || ["8.8.4.4", "2600::1"].map(|text| text.parse().expect("an address")).to_vec();
        for (text, expected) in [
            ("8.8.8.8", true),
            ("8.8.4.4", false),
            ("::ffff:8.8.4.4", false),
            ("64:ff9b::8.8.4.4", false),
            ("2002:808:404::1", false),
            ("2600::1", false),
            ("2600::2", true),
            ("10.0.0.1", false),
        ] {
            assert_eq!(is_public_beside(text.parse().expect("an address"), own), expected, "{text}");
        }
        assert!(own_addresses().contains(&Ipv4Addr::LOCALHOST.into()), "{:?}", own_addresses());
    }

    #[tokio::test]
    async fn urls_are_judged_in_whatever_way_they_write_an_address() {
        for (url, allowed) in [
            ("http://127.0.0.1:5000/", false),
            ("http://2130706433/", false),
            ("http://0x7f.1/", false),
            ("http://[::1]:80/", false),
            ("http://[::ffff:10.0.0.1]/", false),
            ("https://169.254.169.254/latest", false),
            ("https://1.1.1.1/", true),
            ("https://registry.example/", true),
        ] {
            let parsed = Url::parse(url).expect("a URL");
            assert_eq!(Reach::Public.judge(&parsed).await.is_ok(), allowed, "{url}");
            let is_private = url.contains("10.0.0.1");
            assert_eq!(Reach::Elsewhere(None).judge(&parsed).await.is_ok(), allowed || is_private, "{url}");
            assert!(Reach::Anywhere.judge(&parsed).await.is_ok());
        }
    }

    #[test]
    fn tells_what_is_near_from_all_others() {
        let rows: [(Option<Near>, &[&str]); 4] = [
            (
                Some(Near::Node),
                &[
                    "0.0.0.0",
                    "0.1.2.3",
                    "127.0.0.1",
                    "127.9.9.9",
                    "::",
                    "::1",
                    "::7f00:1",
                    "::ffff:127.0.0.1",
                    "::ffff:0.0.0.0",
                    "64:ff9b::127.0.0.1",
                    "2002:7f00:1::1",
                ],
            ),
            (Some(Near::Link), &["169.254.0.1", "169.254.20.10", "::ffff:169.254.1.1", "fe80::1", "febf::1"]),
            (
                Some(Near::Metadata),
                &[
                    "169.254.169.254",
                    "169.254.170.2",
                    "169.254.170.23",
                    "100.100.100.200",
                    "192.0.0.192",
                    "168.63.129.16",
                    "::ffff:169.254.169.254",
                    "64:ff9b::169.254.169.254",
                    "fd00:ec2::254",
                    "fd00:ec2::23",
                    "fd20:ce::254",
                ],
            ),
            (
                None,
                &[
                    "10.0.0.1",
                    "172.16.0.1",
                    "192.168.1.1",
                    "100.64.0.1",
                    "1.1.1.1",
                    "169.253.1.1",
                    "128.0.0.1",
                    "fd12:3456::1",
                    "fec0::1",
                    "2606:4700::1111",
                    "::ffff:10.0.0.1",
                ],
            ),
        ];
        for (expected, addresses) in rows {
            for text in addresses {
                let address = text.parse().expect("an address");
                assert_eq!(Near::of(address), expected, "{text}");
                for own in [None, Some(Near::Node), Some(Near::Link), Some(Near::Metadata)] {
                    let allowed = expected.is_none() || expected == own;
                    assert_eq!(Reach::Elsewhere(own).allows(address), allowed, "{text} for {own:?}");
                }
            }
        }
    }

    #[tokio::test]
    async fn names_for_a_proxy_are_judged_as_far_as_they_are_known_here() {
        for reach in [Reach::Public, Reach::Elsewhere(None)] {
            let error = reach.judge_name("localhost").await.expect_err("it leads to this machine");
            assert!(error.place.starts_with("localhost ("), "{error}");
            // RFC 6761: nobody resolves it.
            assert_eq!(reach.judge_name("registry.invalid").await, Ok(()));
        }
        assert_eq!(Reach::Elsewhere(Some(Near::Node)).judge_name("localhost").await, Ok(()));
    }

    #[tokio::test]
    async fn names_are_judged_by_what_they_resolve_to() {
        let resolve = |reach| Names(reach).resolve("localhost".parse().expect("a name"));
        for reach in [Reach::Public, Reach::Elsewhere(None), Reach::Elsewhere(Some(Near::Link))] {
            let error = resolve(reach).await.err().expect("it leads to this machine");
            let barred = error.downcast_ref::<OutOfReach>().expect("the reason");
            assert!(barred.place.starts_with("localhost (") && barred.reach == reach, "{error}");
        }
        assert!(resolve(Reach::Elsewhere(Some(Near::Node))).await.is_ok_and(|mut found| found.next().is_some()));
    }
}
