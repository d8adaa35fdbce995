//! Which entry of an index a person means.

use crate::core::descriptor::Descriptor;
use crate::core::platform::Platform;
use crate::core::reference::Reference;
use crate::core::text::one_line;

use super::PublishError;

/// Bytes of a platform's name that are shown; a publisher may have written anything.
const LONGEST_NAME: usize = 60;
/// Digits of a digest that are enough to name it.
const SHORT: usize = 8;

/// The positions of the entries that `wanted` names: one by its position from 0 or its platform,
/// all with that child by its digest or the beginning of its digits.
///
/// # Errors
/// [`PublishError::Entry`] where it names none, or a platform several.
pub fn find(reference: &Reference, entries: &[Descriptor], wanted: &str) -> Result<Vec<usize>, PublishError> {
    let failed = |matches: &[usize]| PublishError::Entry {
        reference: reference.familiar(),
        wanted: wanted.into(),
        matches: matches.iter().map(|at| format!("{at} ({})", shown(&entries[*at]))).collect(),
    };
    if let Ok(at) = wanted.parse::<usize>()
        && at < entries.len()
    {
        return Ok(vec![at]);
    }
    let positions = |is: &dyn Fn(&Descriptor) -> bool| -> Vec<usize> {
        entries.iter().enumerate().filter(|(_, entry)| is(entry)).map(|(at, _)| at).collect()
    };
    let digits = wanted.rsplit_once(':').map_or(wanted, |(_, digits)| digits);
    let named = |entry: &Descriptor| {
        let digest = &entry.digest;
        digest.to_string() == wanted || (digits.len() >= SHORT && digest.hex().starts_with(digits))
    };
    let by_digest = positions(&named);
    if let Some(first) = by_digest.first() {
        let several = by_digest.iter().any(|at| entries[*at].digest != entries[*first].digest);
        return if several { Err(failed(&by_digest)) } else { Ok(by_digest) };
    }
    let local = Platform { os: "linux".into(), architecture: "amd64".into(), ..Platform::default() };
    let Ok(platform) = Platform::parse(wanted, &local) else { return Err(failed(&[])) };
    let by_platform = positions(&|entry| entry.platform.as_ref().is_some_and(|declared| declared.same_as(&platform)));
    if by_platform.len() == 1 { Ok(by_platform) } else { Err(failed(&by_platform)) }
}

/// An entry in a few words: its platform and the beginning of its digest.
#[must_use]
pub fn shown(entry: &Descriptor) -> String {
    let named = |platform: &Platform| one_line(&platform.to_string(), LONGEST_NAME);
    let platform = entry.platform.as_ref().map_or("no platform".into(), named);
    format!("{platform}, {}", entry.digest.short())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::descriptor::MediaType;
    use crate::core::digest::Digest;

    fn entry(seed: &str, architecture: &str, variant: &str) -> Descriptor {
        let platform = Platform {
            os: "linux".into(),
            architecture: architecture.into(),
            variant: variant.into(),
            ..Platform::default()
        };
        let descriptor = Descriptor::new(MediaType::OciManifest, Digest::of(seed.as_bytes()), 1);
        Descriptor { platform: Some(platform), ..descriptor }
    }

    #[test]
    fn by_position_digest_or_platform() {
        let reference: Reference = "registry.example/app:1".parse().expect("a reference");
        let entries = [
            entry("a", "amd64", ""),
            entry("b", "arm64", "v8"),
            entry("c", "arm", "v7"),
            entry("c", "arm", "v6"),
            entry("d", "amd64", ""),
        ];
        let c = entries[2].digest.clone();
        let cases = [
            ("0", Some(vec![0])),
            ("4", Some(vec![4])),
            (&*c.to_string(), Some(vec![2, 3])),
            (&c.hex()[..12], Some(vec![2, 3])),
            (&c.hex()[..4], None),
            ("linux/arm64", Some(vec![1])),
            ("aarch64", Some(vec![1])),
            ("linux/arm", Some(vec![2])),
            ("arm/v6", None),
            ("linux/arm/v6", Some(vec![3])),
            ("amd64", None),
            ("linux/s390x", None),
            ("5", None),
            ("", None),
            ("../..", None),
        ];
        for (wanted, expected) in cases {
            assert_eq!(find(&reference, &entries, wanted).ok(), expected, "{wanted}");
        }
        let error = find(&reference, &entries, "amd64").expect_err("two of them").to_string();
        assert!(error.contains("0 (linux/amd64") && error.contains("4 (linux/amd64"), "{error}");
    }
}
