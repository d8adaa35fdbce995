//! `lighterman diagnose`, on programs of every architecture that Debian and Go have: what is wrong
//! is found and shown, and of what is right nothing is said.

mod architectures;
mod hostile;
mod labels;
mod levels;
mod ordinary;
mod places;
mod starts;
mod story;
mod unfinished;

use serde_json::{Value, json};

use crate::support::fixture::{Flavour, Image, Layer, Manifest, platform};
use crate::support::lighterman::{Lighterman, Outcome, exit};
use crate::support::registry::Registry;

/// A registry and somebody who looks into its images.
pub(crate) struct Surveyor {
    registry: Registry,
    user: Lighterman<'static>,
}

impl Surveyor {
    pub(crate) fn new() -> Self {
        Self { registry: Registry::plain(), user: Lighterman::new() }
    }

    /// Pushes an image and looks into it, for these hosts.
    #[track_caller]
    pub(crate) fn look(&self, image: &Image, hosts: &[&str]) -> Diagnosis {
        self.look_with(image, hosts, &["--all-platforms"])
    }

    /// The same with further arguments.
    #[track_caller]
    pub(crate) fn look_with(&self, image: &Image, hosts: &[&str], more: &[&str]) -> Diagnosis {
        let reference = self.registry.push(image, "app:1");
        let mut args = vec!["diagnose", &reference, "--json"];
        args.extend(hosts.iter().flat_map(|host| ["--host", host]));
        args.extend(more);
        Diagnosis::of(self.user.run(&args))
    }
}

/// What was said about an image.
pub(crate) struct Diagnosis {
    code: Option<i32>,
    document: Value,
}

impl Diagnosis {
    /// Fails the test unless it came to a verdict, and one that fits its findings: where an image
    /// does not run, something says why, and where it does, nothing says that it does not.
    #[track_caller]
    fn of(outcome: Outcome) -> Self {
        let code = outcome.code;
        assert!(matches!(code, Some(exit::OK | exit::PLATFORM)), "no verdict: {outcome:#?}");
        let diagnosis = Self { code, document: outcome.json() };
        let hindered = diagnosis.hindered();
        let runs = if hindered.is_empty() { exit::OK } else { exit::PLATFORM };
        assert_eq!(code, Some(runs), "{:#}", diagnosis.document);
        let errors: Vec<&Value> = diagnosis.findings().filter(|finding| finding["severity"] == "error").collect();
        for node in &hindered {
            let about = |finding: &&&Value| finding["node"].is_null() || finding["node"] == node.as_str();
            assert!(errors.iter().any(|f| about(&f)), "nothing says why not on {node}: {:#}", diagnosis.document);
        }
        for node in errors.iter().filter_map(|finding| finding["node"].as_str()) {
            assert!(hindered.iter().any(|name| name == node), "an error on {node}: {:#}", diagnosis.document);
        }
        diagnosis
    }

    /// The nodes on which the image does not run, in the order in which they were named.
    pub(crate) fn hindered(&self) -> Vec<String> {
        let hindered = self.list("nodes").filter(|node| matches!(node["outcome"].as_str(), Some("fails" | "refused")));
        hindered.filter_map(|node| node["name"].as_str().map(String::from)).collect()
    }

    /// How it goes on each node, as `linux/arm/v7 runs`.
    pub(crate) fn outcomes(&self) -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.list("nodes").map(|node| format!("{} {}", text(&node["name"]), text(&node["outcome"]))).collect()
    }

    /// The findings, as `PLAT-003 error on linux/arm64`, each once, sorted; notes are left out.
    pub(crate) fn problems(&self) -> Vec<String> {
        let problem = |finding: &Value| {
            let text = |key: &str| finding[key].as_str().unwrap_or_default();
            let node = if text("node").is_empty() { String::new() } else { format!(" on {}", text("node")) };
            format!("{} {}{node}", text("id"), text("severity"))
        };
        let mut problems: Vec<String> =
            self.findings().filter(|finding| finding["severity"] != "note").map(problem).collect();
        problems.sort();
        problems.dedup();
        problems
    }

    pub(crate) fn findings(&self) -> impl Iterator<Item = &Value> {
        self.list("findings")
    }

    /// The findings with this identifier.
    pub(crate) fn with_id<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a Value> {
        self.findings().filter(move |finding| finding["id"] == id)
    }

    /// The errors that are about the image itself, and not about a node.
    pub(crate) fn errors(&self) -> Vec<&Value> {
        self.findings().filter(|finding| finding["severity"] == "error" && finding["node"].is_null()).collect()
    }

    /// The binary that each image starts, where one was found.
    pub(crate) fn programs(&self) -> Vec<&Value> {
        self.list("images").filter_map(|image| image["start"]["files"].as_array()?.last()).collect()
    }

    fn list(&self, key: &str) -> impl Iterator<Item = &Value> {
        self.document[key].as_array().unwrap_or_else(|| panic!("no {key} in {:#}", self.document)).iter()
    }

    /// Fails the test unless exactly these are wrong; see [`Diagnosis::problems`].
    #[track_caller]
    pub(crate) fn finds(self, expected: &[&str]) -> Self {
        assert_eq!(self.problems(), expected, "{:#}", self.document);
        self
    }
}

/// A lone image of these layers that runs this.
pub(crate) fn image_of(arch: &str, variant: &str, layers: &[Layer], run: &Value) -> Image {
    Image::single(Manifest::running(Flavour::Oci, &platform(arch, variant), layers, run))
}

/// A config that starts this, exec form.
pub(crate) fn exec(program: &str) -> Value {
    json!({ "Entrypoint": [program] })
}
