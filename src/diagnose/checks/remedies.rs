//! Remedies that several checks propose, ready for a shell. What comes from documents is quoted:
//! a platform may be named `linux; rm -rf ~`.

use crate::core::digest::Digest;
use crate::core::platform::Platform;
use crate::core::reference::Reference;
use crate::core::text::shell_word;
use crate::diagnose::finding::Remedy;

/// Manifests in one command. Public indexes have thirty entries at the most.
const MOST_CHILDREN: usize = 40;

/// Corrects what an index says of one entry. The image itself stays as it is.
pub(super) fn annotate(reference: &Reference, digest: &Digest, right: &Platform) -> Remedy {
    let image = reference.familiar();
    let variant = match right.variant.as_str() {
        "" => "--clear-variant".to_owned(),
        variant => format!("--variant {}", shell_word(variant)),
    };
    let (os, architecture) = (shell_word(&right.os), shell_word(&right.architecture));
    Remedy::new("correct the entry in the index; the image itself stays as it is, and older digests stay pullable")
        .command(format!(
            "lighterman manifest annotate {image} --entry {digest} --os {os} --arch {architecture} {variant} --push"
        ))
}

/// Builds the image for a platform that it does not have, and for those that it has.
pub(super) fn build(reference: &Reference, has: &[Platform], wanted: &Platform) -> Remedy {
    let linux = has.iter().filter(|platform| platform.os == "linux").chain([wanted]);
    let platforms: Vec<String> = linux.map(ToString::to_string).collect();
    Remedy::new("build and push it for every platform that it is meant for").command(buildx(reference, &platforms))
}

/// The command that builds and pushes it for these.
pub(super) fn buildx(reference: &Reference, platforms: &[String]) -> String {
    let platforms = platforms.join(",");
    format!("docker buildx build --platform {} -t {} --push .", shell_word(&platforms), reference.familiar())
}

/// Makes the index anew of these manifests, platforms as their configs and programs say.
pub(super) fn create(reference: &Reference, text: &str, digests: &[&Digest]) -> Remedy {
    let children: Vec<String> = digests.iter().map(|digest| format!("{}@{digest}", reference.name())).collect();
    let remedy = Remedy::new(text);
    // Nobody types more than that, and a shell takes only so much.
    if children.is_empty() || children.len() > MOST_CHILDREN {
        return remedy;
    }
    remedy.command(format!("lighterman manifest create {} {} --push", reference.familiar(), children.join(" ")))
}

/// Makes the emulator of an architecture known to the kernel, open for containers too.
pub(super) fn register_emulator(architecture: &str, text: &str) -> Remedy {
    Remedy::new(format!("{text} (Debian and Ubuntu have it as the package qemu-user-static)"))
        .command(format!("docker run --privileged --rm tonistiigi/binfmt --install {}", shell_word(architecture)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_variant_is_set_or_cleared() {
        let reference: Reference = "org/app:1".parse().expect("a reference");
        let digest = Digest::of(b"x");
        let command = |platform: Platform| annotate(&reference, &digest, &platform).commands[0].clone();
        assert_eq!(
            command(Platform::linux("arm", "v6")),
            format!(
                "lighterman manifest annotate org/app:1 --entry {digest} --os linux --arch arm --variant v6 --push"
            )
        );
        assert!(command(Platform::linux("386", "")).contains("--arch 386 --clear-variant"));
    }

    proptest! {
        #[test]
        fn whatever_a_document_says_is_one_word(text in "\\PC{0,20}|[a-z'\"$`;&|<>(){} \\\\!*?~#\n]{0,20}") {
            let quoted = shell_word(&text);
            let outside: String = quoted.replace(r"'\''", "").split('\'').step_by(2).collect();
            prop_assert!(outside.bytes().all(|b| b.is_ascii_alphanumeric() || b"@%+=:,./_-".contains(&b)), "{quoted}");
        }
    }
}
