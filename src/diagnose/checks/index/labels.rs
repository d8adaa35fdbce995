//! What each entry is labelled as: names that clients know, and the word of its config.

use super::{built_for, configured, declared, entry};
use crate::core::platform::{Platform, architecture_problem, variant_problem};
use crate::core::reference::Reference;
use crate::core::select::{self, Entry, Inner};
use crate::core::text::{self, shell_word};
use crate::diagnose::checks::{remedies, shown};
use crate::diagnose::finding::{Evidence, Finding, Id, Remedy, Severity};
use crate::diagnose::fleet::Image;
use crate::diagnose::needs::Needs;

pub(super) fn check(reference: &Reference, image: Image<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, listed) in select::flatten(image.entries) {
        let is_image = listed.descriptor.media_type.is_manifest() && !listed.descriptor.is_attestation();
        let Some(platform) = listed.descriptor.platform.as_ref().filter(|_| is_image) else { continue };
        let label = Label { reference, image, path: &path, listed, platform };
        // A label that says nothing to anyone is not held against the config as well.
        match label.unknown() {
            Some(finding) => findings.push(finding),
            None => findings.extend(label.without_variant().into_iter().chain(label.against_config())),
        }
    }
    findings
}

/// An entry that declares a platform.
struct Label<'a> {
    reference: &'a Reference,
    image: Image<'a>,
    path: &'a [usize],
    listed: &'a Entry,
    platform: &'a Platform,
}

impl Label<'_> {
    fn finding(&self, id: Id, severity: Severity, message: String) -> Finding {
        Finding::new(id, severity, message).at(self.path).shown_by(declared(self.image, self.path))
    }

    fn annotate(&self, right: &Platform) -> Remedy {
        remedies::annotate(self.reference, &self.listed.descriptor.digest, right)
    }

    /// PLAT-007.
    fn unknown(&self) -> Option<Finding> {
        let linux = matches!(self.platform.os.as_str(), "" | "linux");
        let architecture = architecture_problem(self.platform).filter(|_| linux);
        let (why, right) = match (architecture, variant_problem(self.platform)) {
            (Some(problem), _) => (problem.why, problem.right),
            (None, Some(problem)) => {
                let right = problem.right.map(|variant| Platform { variant, ..self.platform.clone() });
                (problem.why, right)
            }
            (None, None) => return None,
        };
        let why = text::one_line(&why, super::QUOTED);
        let message = format!("{} is for {}, and {why}", entry(self.path), shown(self.platform));
        let finding = self.finding(Id::VariantUnknown, Severity::Warning, message);
        Some(match right {
            Some(right) => finding.mended_by(self.annotate(&right)),
            None => finding.mended_by(Remedy::new(
                "name it as the OCI specification does: arm has v5, v6, v7 and v8, arm64 has v8, amd64 has v1 to v4",
            )),
        })
    }

    /// PLAT-006, as far as the documents tell. Where the program says which variant it needs, that is
    /// for the check of binaries.
    fn without_variant(&self) -> Option<Finding> {
        let bare = self.platform.architecture == "arm" && self.platform.variant.is_empty();
        let needs = self.image.contents_at(self.path).and_then(Needs::of);
        let is_told = needs.is_some_and(|needs| needs.platform.architecture != "arm" || needs.certainty().is_some());
        if !bare || is_told {
            return None;
        }
        let config = self.config().filter(|config| config.architecture == "arm");
        let named = config.map(|config| config.variant.clone()).unwrap_or_default();
        let taken_for = format!("{} is for arm without a variant, which clients take for v7", entry(self.path));
        match named.as_str() {
            "v7" => None,
            "v5" | "v6" => {
                let message = format!("{taken_for}, and its config says {named}: nodes of {named} are not offered it");
                let right = Platform { variant: named, ..self.platform.clone() };
                Some(
                    self.with_config(self.finding(Id::VariantMissing, Severity::Warning, message))
                        .mended_by(self.annotate(&right)),
                )
            }
            _ => {
                let message = format!("{taken_for}: a Raspberry Pi Zero or 1 (v6) is not offered it");
                let right = Platform { variant: "v7".into(), ..self.platform.clone() };
                let remedy = self.annotate(&right);
                let text =
                    format!("say which it is, as v7 or, where the program runs on less, v6 or v5: {}", remedy.text);
                Some(self.finding(Id::VariantMissing, Severity::Note, message).mended_by(Remedy { text, ..remedy }))
            }
        }
    }

    /// PLAT-002 and PLAT-022: the program, where it is known, says which of the two is wrong.
    fn against_config(&self) -> Option<Finding> {
        let config = self.config().filter(|config| !config.architecture.is_empty())?;
        let (label, normal) = (self.platform.normalized(), config.normalized());
        let words = (shown(self.platform), shown(config));
        if label.os == normal.os && label.architecture == normal.architecture {
            return self.variants_differ(&label, &normal);
        }
        let place = entry(self.path);
        let finding = match built_for(self.image, self.path) {
            Some(built) if built == label.architecture && label.os == normal.os => {
                let message = format!(
                    "{place} is for {}, as its program is, and its config still says {}: Docker warns about it when it makes a container, and older containerd unpacks nothing",
                    words.0, words.1
                );
                let platform = self.platform.to_string();
                let child = format!("{}@{}", self.reference.name(), self.listed.descriptor.digest);
                let remedy = Remedy::new(
                    "correct the config too, which makes a new image, and list that one; or build it with --platform",
                )
                .command(format!("crane mutate --set-platform {} {child}", shell_word(&platform)));
                return Some(
                    self.with_config(self.finding(Id::AnnotateOnly, Severity::Note, message)).mended_by(remedy),
                );
            }
            Some(built) if built == normal.architecture => {
                let message = format!("{place} is for {}, and its config and its program are for {}", words.0, words.1);
                self.finding(Id::LabelVsConfig, Severity::Warning, message).mended_by(self.annotate(config))
            }
            _ => {
                let message = format!(
                    "{place} is for {}, and its config says {}: one of them is wrong, and clients go by the index",
                    words.0, words.1
                );
                self.finding(Id::LabelVsConfig, Severity::Warning, message)
                    .mended_by(
                        Remedy::new("look at the program, which says which of the two it is")
                            .command(format!("lighterman diagnose {} --all-platforms", self.reference.familiar())),
                    )
                    .mended_by(self.annotate(config))
            }
        };
        Some(self.with_config(finding))
    }

    /// A config without variant claims nothing: many tools leave it out.
    fn variants_differ(&self, label: &Platform, config: &Platform) -> Option<Finding> {
        let claims =
            self.config().is_some_and(|config| !config.variant.is_empty()) && !self.platform.variant.is_empty();
        if !claims || label.variant == config.variant {
            return None;
        }
        // A label above the config keeps some nodes away; one below it invites nodes that may fail.
        let severity = if config.variant > label.variant { Severity::Warning } else { Severity::Note };
        let message = format!("{} is for {}, and its config says {}", entry(self.path), shown(label), shown(config));
        Some(self.with_config(self.finding(Id::LabelVsConfig, severity, message)).mended_by(self.annotate(config)))
    }

    fn config(&self) -> Option<&Platform> {
        match (self.image.contents_at(self.path), &self.listed.inner) {
            (Some(contents), _) => Some(&contents.config.platform),
            (None, Inner::Config(platform)) => Some(platform),
            (None, _) => None,
        }
    }

    fn with_config(&self, finding: Finding) -> Finding {
        let evidence: Option<Evidence> = self.image.contents_at(self.path).map(configured);
        evidence.into_iter().fold(finding, Finding::shown_by)
    }
}
