//! From facts to findings.

use std::time::{Duration, SystemTime};

use bytesize::ByteSize;

use super::facts::{Clock, Disk, Facts, Folder, Runtime, Service};
use super::probe::Answer;
use super::{Finding, Severity};
use crate::core::error::Kind;
use crate::host::Emulator;
use crate::node::setup::{self, Step, Topic, Version};

/// The oldest containerd whose services we know.
const OLDEST_CONTAINERD: Version = Version::new(1, 6);
/// Certificates and tokens are good for minutes around the right time.
const MOST_SKEW: Duration = Duration::from_secs(60);
/// An image of ordinary size, packed and unpacked.
const LEAST_BYTES: u64 = 1 << 30;
/// The same in files.
const LEAST_INODES: u64 = 20_000;
/// kubelet begins to remove images at 85 % and evicts pods at 85 % by its defaults.
const LEAST_SHARE: u64 = 15;

/// Makes the daemon's socket anew, which does not start beside its service: not even a restart of
/// both would do.
const RESTART: &str =
    "systemctl stop lighterman.socket lighterman.service && systemctl start lighterman.socket lighterman.service";

/// Everything that is wrong, worst first.
#[must_use]
pub fn examine(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    daemon(&facts.daemon, &mut findings);
    containerd(&facts.containerd, &mut findings);
    kubelet(facts, &mut findings);
    differ(facts, &mut findings);
    connections(facts, &mut findings);
    mirror(facts, &mut findings);
    clock(&facts.clock, &mut findings);
    facts.disks.iter().for_each(|one| disk(one, &mut findings));
    facts.staging.iter().for_each(|one| staging(one, &mut findings));
    kernel(facts.filesystems.as_deref(), &mut findings);
    facts.emulators.iter().for_each(|one| emulator(one, &mut findings));
    // Stable: what was looked at first stays first among its like.
    findings.sort_by_key(|finding| finding.severity);
    findings
}

fn finding(
    (id, severity): (&'static str, Severity),
    kind: Kind,
    message: impl Into<String>,
    fix: impl Into<String>,
) -> Finding {
    Finding { id, severity, kind, message: message.into(), fix: fix.into() }
}

fn daemon(service: &Service, findings: &mut Vec<Finding>) {
    let address = &service.address;
    let (id, kind, message, fix) = match (&service.answer, service.file) {
        (_, Some(file)) if !file.is_socket => (
            "daemon-socket-is-none",
            Kind::StoreInvalid,
            format!("{address} is not a socket"),
            format!("remove it and run: {RESTART}"),
        ),
        (Answer::Well, Some(file)) if file.mode & 0o007 != 0 || file.uid != 0 => (
            "daemon-socket-open",
            Kind::StoreInvalid,
            format!(
                "everybody may use {address} (mode {:o}, owner {}), and with it this node's containerd",
                file.mode, file.uid
            ),
            format!("have it made anew, for root and the group lighterman: {RESTART}"),
        ),
        (Answer::Well, _) => return,
        (Answer::Nobody, None) => (
            "daemon-socket-missing",
            Kind::StoreUnavailable,
            format!("there is no socket at {address}"),
            format!("run: systemctl enable lighterman.socket lighterman.service && {RESTART}"),
        ),
        (Answer::Nobody, Some(_)) => {
            ("daemon-down", Kind::StoreUnavailable, format!("nobody listens on {address}"), format!("run: {RESTART}"))
        }
        (Answer::Denied, _) => (
            "daemon-socket-denied",
            Kind::PermissionDenied,
            format!("{address} may not be used by this user"),
            "run this as root, or join the group lighterman".into(),
        ),
        (Answer::Strange(reason), _) => (
            "daemon-silent",
            Kind::StoreUnavailable,
            format!("the daemon at {address} does not answer: {reason}"),
            "look into: journalctl -u lighterman -n 50".into(),
        ),
    };
    findings.push(finding((id, Severity::Error), kind, message, fix));
}

fn containerd(runtime: &Runtime, findings: &mut Vec<Finding>) {
    let version = match &runtime.version {
        Ok(version) => version,
        Err(reason) => {
            let at = ("containerd-unreachable", Severity::Error);
            return findings.push(finding(at, Kind::StoreUnavailable, reason, "run: systemctl start containerd"));
        }
    };
    if Version::find(version).is_some_and(|version| version < OLDEST_CONTAINERD) {
        let message = format!("containerd {version} is older than {OLDEST_CONTAINERD}");
        let at = ("containerd-old", Severity::Error);
        findings.push(finding(at, Kind::Unsupported, message, "install a newer containerd"));
    }
    let slower = |id, what: &str, outcome: &Option<Result<(), String>>| {
        let reason = outcome.as_ref()?.as_ref().err()?;
        let fix = "put staging on the file system of containerd's root, and in a service see that one ReadWritePaths= \
                   holds both";
        Some(finding((id, Severity::Warning), Kind::StoreInvalid, format!("{what}: {reason}"), fix))
    };
    findings.extend(slower("links-fail", "blobs are copied into containerd instead of linked", &runtime.links));
    findings.extend(slower("renames-fail", "containerd unpacks layers itself, one after the other", &runtime.renames));
}

/// A kubelet without its image service does not start.
fn kubelet(facts: &Facts, findings: &mut Vec<Finding>) {
    let Some(node) = &facts.setup.kubelet else { return };
    let socket = &facts.daemon.address;
    let leads_here = match &node.flag {
        Some((endpoint, _)) => endpoint.ends_with(socket.as_str()),
        None => node.config.content.text().is_some_and(|text| setup::names_endpoint(text, socket)),
    };
    if leads_here && facts.daemon.answer != Answer::Well {
        let message = "kubelet pulls images through lighterman, which does not answer: no pod with a new image starts, \
                       and neither does kubelet itself";
        let fix = "start lighterman as said above, or run: lighterman setup --undo";
        findings.push(finding(("kubelet-endpoint-dead", Severity::Error), Kind::StoreUnavailable, message, fix));
    }
}

/// A containerd that has its differ here and does not reach it cannot unpack.
fn differ(facts: &Facts, findings: &mut Vec<Finding>) {
    let settings = facts.setup.containerd.as_ref().and_then(|node| node.settings.as_ref().ok());
    let leads_here = settings.is_some_and(|settings| settings.unpacks_through(&facts.daemon.address));
    if leads_here && facts.daemon.answer != Answer::Well {
        let message = "containerd unpacks images through lighterman, which does not answer: its own pulls fail";
        let fix = "start lighterman as said above, or run: lighterman setup --undo";
        findings.push(finding(("containerd-differ-dead", Severity::Error), Kind::StoreUnavailable, message, fix));
    }
}

/// What `setup` would do. It is wrong where the node is half connected, else worth knowing.
fn connections(facts: &Facts, findings: &mut Vec<Finding>) {
    for reason in &facts.broken_hosts {
        let fix = "correct the file; containerd ignores it as a whole";
        findings.push(finding(("hosts-toml-broken", Severity::Error), Kind::InvalidConfiguration, reason, fix));
    }
    let asks_mirror =
        facts.setup.containerd.as_ref().is_some_and(|node| node.hosts.content.names(&facts.mirror.address));
    for step in facts.missing.steps() {
        let (path, topic, message, fix) = match step {
            Step::Write { path, topic, why, .. } => {
                (path, topic, format!("not so yet: {why}"), "run: lighterman setup".to_owned())
            }
            Step::Advise { path, topic, why, paste } => {
                (path, topic, why.clone(), format!("write into {path}:\n{paste}"))
            }
        };
        // hosts.toml leads to the mirror, and containerd does not read it: the trap.
        let half = asks_mirror && *topic == Topic::ConfigPath;
        let severity = if half || *topic == Topic::Unit { Severity::Warning } else { Severity::Note };
        findings.push(finding((topic.name(), severity), Kind::InvalidConfiguration, format!("{path}: {message}"), fix));
    }
}

fn mirror(facts: &Facts, findings: &mut Vec<Finding>) {
    let address = &facts.mirror.address;
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    match &facts.mirror.answer {
        Answer::Well => {}
        Answer::Nobody | Answer::Denied => {
            let (severity, who) = match facts.setup.names_mirror(address) {
                true => (Severity::Warning, "where runtimes look for the mirror"),
                // Somebody may have switched it off on purpose.
                false => (Severity::Note, "the mirror's address; no runtime of this node asks there"),
            };
            findings.push(finding(
                ("mirror-down", severity),
                Kind::StoreUnavailable,
                format!("nobody listens on {address}, {who}"),
                "run: systemctl enable lighterman-mirror.socket && systemctl stop lighterman.service && systemctl start \
                 lighterman-mirror.socket lighterman.service",
            ));
        }
        Answer::Strange(reason) => findings.push(finding(
            ("mirror-strange", Severity::Warning),
            Kind::StoreUnavailable,
            format!("what listens on {address} is no registry: {reason}"),
            format!("look who it is with: ss -ltnp 'sport = {}'", port.unwrap_or_default()),
        )),
    }
    if let (Some(port), Some(first)) = (port, facts.first_free_port)
        && port >= first
    {
        let message = format!(
            "any user of this node may listen on port {port} while the mirror does not (net.ipv4.ip_unprivileged_port_start is {first})"
        );
        let fix = "keep lighterman-mirror.socket enabled, or raise the setting";
        findings.push(finding(("mirror-port-free", Severity::Warning), Kind::InvalidConfiguration, message, fix));
    }
}

fn clock(clock: &Clock, findings: &mut Vec<Finding>) {
    let fix = "set the clock, and keep it right with: timedatectl set-ntp true";
    let before = |other: SystemTime| other.duration_since(clock.now).unwrap_or_default();
    let after = |other: SystemTime| clock.now.duration_since(other).unwrap_or_default();
    let mut wrong =
        |id, message: String| findings.push(finding((id, Severity::Error), Kind::TlsUntrusted, message, fix));
    if clock.built.is_some_and(|built| before(built) > MOST_SKEW) {
        wrong("clock-behind-build", "the clock shows a time before this program was made".into());
    } else if let Some(registry) = clock.registry {
        let (behind, ahead) = (before(registry), after(registry));
        if behind.max(ahead) > MOST_SKEW {
            let way = if behind > ahead { "behind" } else { "ahead of" };
            let seconds = behind.max(ahead).as_secs();
            wrong(
                "clock-skewed",
                format!("the clock is {seconds} s {way} the registry's: certificates and tokens may be refused"),
            );
        }
    }
}

fn disk(disk: &Disk, findings: &mut Vec<Finding>) {
    let path = &disk.path;
    let fix = format!("remove images and files that nobody needs from the file system of {path}, or make it larger");
    let judge = |(all, free): (u64, u64), least: u64| match () {
        () if all == 0 => None,
        () if free < least => Some(Severity::Error),
        () if free / all.div_ceil(100).max(1) < LEAST_SHARE => Some(Severity::Warning),
        () => None,
    };
    if let Some(severity) = judge(disk.bytes, LEAST_BYTES) {
        let message = format!("{} of {} are free for {path}", show(disk.bytes.1), show(disk.bytes.0));
        findings.push(finding(("disk-full", severity), Kind::StoreFull, message, fix.clone()));
    }
    if let Some(severity) = judge(disk.inodes, LEAST_INODES) {
        let message = format!("{} of {} files can still be made for {path}", disk.inodes.1, disk.inodes.0);
        findings.push(finding(("inodes-used-up", severity), Kind::StoreFull, message, fix));
    }
}

fn show(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

fn staging(folder: &Folder, findings: &mut Vec<Finding>) {
    if folder.uid == 0 && folder.mode & 0o077 == 0 {
        return;
    }
    let Folder { path, uid, mode } = folder;
    let message = format!(
        "{path} is open to others (owner {uid}, mode {mode:o}): private blobs and setuid files pass through it"
    );
    let fix = format!("run: chown root:root {path} && chmod 700 {path}");
    findings.push(finding(("staging-open", Severity::Error), Kind::StoreInvalid, message, fix));
}

fn kernel(filesystems: Option<&str>, findings: &mut Vec<Finding>) {
    let knows_overlay = |text: &str| text.lines().any(|line| line.split_whitespace().last() == Some("overlay"));
    if filesystems.is_some_and(|text| !knows_overlay(text)) {
        let message = "the kernel has no overlay file system loaded: containerd cannot use its overlayfs snapshotter";
        let at = ("overlay-missing", Severity::Warning);
        findings.push(finding(
            at,
            Kind::Unsupported,
            message,
            "run: modprobe overlay, and name it in /etc/modules-load.d",
        ));
    }
}

fn emulator(emulator: &Emulator, findings: &mut Vec<Finding>) {
    if !emulator.enabled || emulator.architectures.is_empty() || emulator.usable_in_containers() {
        return;
    }
    let Emulator { name, architectures, .. } = emulator;
    let message = format!(
        "the emulator {name} for {} was registered without the flag F: containers cannot use it",
        architectures.join(", ")
    );
    let fix = "register it again with F, as Debian's qemu-user-static does";
    findings.push(finding(("emulator-not-fixed", Severity::Note), Kind::PlatformMismatch, message, fix));
}
