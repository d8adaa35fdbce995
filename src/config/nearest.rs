//! What somebody may have meant who wrote a name that there is not.

use super::keys::{self, KEYS, Key, SECTIONS};

/// Below this likeness (of 1), a guess would puzzle more than help.
const LIKE: f64 = 0.6;

/// The hint for an unknown key.
pub(super) fn key(section: &str, name: &str) -> Option<String> {
    let wanted = normal(name);
    let elsewhere: Vec<&Key> = KEYS.iter().filter(|key| key.name == wanted && key.section != section).collect();
    if !elsewhere.is_empty() && keys::find(section, &wanted).is_none() {
        let places: Vec<String> = elsewhere.iter().map(|key| stand(key)).collect();
        return Some(format!("{wanted} stands {}", places.join(" and ")));
    }
    // A key of the same section wins over one that is equally like it elsewhere.
    let likeness = |key: &Key| strsim::normalized_damerau_levenshtein(&wanted, key.name);
    let best = KEYS.iter().map(|key| (likeness(key), key.section == section, key));
    let (_, _, key) = best.filter(|(like, ..)| *like >= LIKE).max_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))?;
    Some(if key.section == section {
        format!("did you mean {}?", key.name)
    } else {
        format!("did you mean {}?", key.path())
    })
}

/// The hint for an unknown section.
pub(super) fn section(name: &str) -> Option<String> {
    let wanted = normal(name);
    let best = SECTIONS.iter().map(|section| (strsim::normalized_damerau_levenshtein(&wanted, section.name), section));
    let best = best.filter(|(like, _)| *like >= LIKE).max_by(|a, b| a.0.total_cmp(&b.0));
    let names: Vec<String> = SECTIONS.iter().map(|section| format!("[{}]", section.name)).collect();
    Some(best.map_or_else(
        || format!("there are {}", names.join(", ")),
        |(_, section)| format!("did you mean [{}]?", section.name),
    ))
}

fn stand(key: &Key) -> String {
    match key.section {
        "" => "at the top of the file, above every section".into(),
        section => format!("in [{section}]"),
    }
}

fn normal(name: &str) -> String {
    name.to_lowercase().replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_what_is_near_and_nothing_else() {
        let cases = [
            ("", "log_level", Some("did you mean log-level?")),
            ("", "mirror", Some("did you mean mirrors?")),
            ("", "max-conections", Some("did you mean max-connections?")),
            ("", "address", Some("address stands in [containerd]")),
            ("containerd", "log-level", Some("log-level stands at the top of the file, above every section")),
            ("containerd", "addres", Some("did you mean address?")),
            ("containerd", "Snapshotter", Some("did you mean snapshotter?")),
            ("", "listen", Some("listen stands in [serve] and in [mirror] and in [metrics]")),
            ("", "staging", Some("did you mean containerd.staging-dir?")),
            ("", "quay", None),
            ("metrics", "port", None),
        ];
        for (section, name, expected) in cases {
            assert_eq!(key(section, name).as_deref(), expected, "[{section}] {name}");
        }
        assert_eq!(section("containerD").as_deref(), Some("did you mean [containerd]?"));
        assert_eq!(section("metric").as_deref(), Some("did you mean [metrics]?"));
        assert!(section("plugins").is_some_and(|hint| hint.contains("[cri]")));
    }
}
