//! A strict reader of OpenMetrics 1.0 texts: what Prometheus would take, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

type Labels = BTreeMap<String, String>;

/// A text that keeps every rule.
#[derive(Debug)]
pub(super) struct Exposition {
    samples: BTreeMap<(String, Labels), f64>,
}

/// A family that is being read.
#[derive(Debug, Default)]
struct Family {
    name: String,
    kind: String,
    unit: String,
    has_help: bool,
    has_samples: bool,
}

impl Exposition {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let body = text.strip_suffix("# EOF\n").ok_or("it does not end with # EOF and a line feed")?;
        if !(body.is_empty() || body.ends_with('\n')) {
            return Err("the last line before # EOF has no end".into());
        }
        let mut known = BTreeSet::new();
        let (mut family, mut samples) = (Family::default(), BTreeMap::new());
        for line in body.lines() {
            let wrong = |what: &str| format!("{what}: {line:?}");
            if let Some(rest) = line.strip_prefix("# ") {
                let mut words = rest.splitn(3, ' ');
                let (Some(what), Some(name), Some(value)) = (words.next(), words.next(), words.next()) else {
                    return Err(wrong("metadata without its three parts"));
                };
                if name != family.name {
                    if !is_name(name, true) || !known.insert(name.to_owned()) {
                        return Err(wrong("a bad name, or a family in two places"));
                    }
                    family = Family { name: name.into(), ..Family::default() };
                }
                if family.has_samples {
                    return Err(wrong("metadata behind samples"));
                }
                match what {
                    "HELP" if !family.has_help => family.has_help = true,
                    "TYPE" if family.kind.is_empty() => family.kind = value.into(),
                    "UNIT" if family.unit.is_empty() && name.ends_with(&format!("_{value}")) => {
                        family.unit = value.into()
                    }
                    _ => return Err(wrong("unknown, repeated or contradicting metadata")),
                }
                continue;
            }
            let (key, value) = sample(line).ok_or_else(|| wrong("not a sample"))?;
            family.takes(&key, value).map_err(wrong)?;
            family.has_samples = true;
            if samples.insert(key, value).is_some() {
                return Err(wrong("a sample that was there before"));
            }
        }
        let exposition = Self { samples };
        exposition.check_histograms()?;
        Ok(exposition)
    }

    pub(super) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.samples.get(&(name.to_owned(), labels)).copied()
    }

    /// Buckets only grow, the last one is +Inf and equal to the count.
    fn check_histograms(&self) -> Result<(), String> {
        let mut rows: BTreeMap<(String, Labels), Vec<(f64, f64)>> = BTreeMap::new();
        for ((name, labels), value) in &self.samples {
            let (Some(base), Some(le)) = (name.strip_suffix("_bucket"), labels.get("le")) else { continue };
            let mut labels = labels.clone();
            labels.remove("le");
            let end = number(le).ok_or_else(|| format!("{le} is no end of a bucket"))?;
            rows.entry((base.into(), labels)).or_default().push((end, *value));
        }
        for ((base, labels), mut buckets) in rows {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            let count = self.samples.get(&(format!("{base}_count"), labels.clone()));
            let last = buckets.last().filter(|(end, _)| end.is_infinite()).map(|(_, value)| value);
            let grows = buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1);
            if !grows || last.is_none() || last != count || !self.samples.contains_key(&(format!("{base}_sum"), labels))
            {
                return Err(format!("the histogram {base} contradicts itself: {buckets:?}"));
            }
        }
        Ok(())
    }
}

impl Family {
    /// Whether a sample of this name belongs to the family.
    fn takes(&self, (name, labels): &(String, Labels), value: f64) -> Result<(), &'static str> {
        let suffix = name.strip_prefix(&self.name).ok_or("a sample outside of its family")?;
        let fits = match self.kind.as_str() {
            "counter" => suffix == "_total" && value >= 0.0,
            "gauge" => suffix.is_empty(),
            "info" => suffix == "_info" && value == 1.0,
            "histogram" if suffix == "_bucket" => labels.contains_key("le"),
            "histogram" => matches!(suffix, "_sum" | "_count"),
            _ => return Err("a sample of no known type"),
        };
        let complete = fits && self.has_help && (self.unit.is_empty() || self.name.ends_with(&self.unit));
        complete.then_some(()).ok_or("a sample that its type has not")
    }
}

/// `name{label="value",…} number`, without timestamp and exemplar.
fn sample(line: &str) -> Option<((String, Labels), f64)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, behind) = rest.split_once("=\"")?;
            let close = unescaped_quote(behind)?;
            let fresh = labels.insert(label.into(), behind[..close].into()).is_none();
            rest = &behind[close + 1..];
            rest = rest.strip_prefix(',').filter(|rest| !rest.starts_with('}')).unwrap_or(rest);
            if !fresh || !is_name(label, false) {
                return None;
            }
        }
        rest = rest.strip_prefix('}')?;
    }
    let value = number(rest.strip_prefix(' ')?)?;
    is_name(name, true).then(|| ((name.to_owned(), labels), value))
}

fn unescaped_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let found = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        found.then_some(at)
    })
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        _ if text.is_empty() || text.contains(|c: char| !(c.is_ascii_digit() || "+-.eE".contains(c))) => None,
        _ => text.parse().ok(),
    }
}

fn is_name(text: &str, colons: bool) -> bool {
    let first = text.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    first && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':'))
}

#[test]
fn the_reader_is_strict() {
    let good = "# HELP a A thing.\n# TYPE a counter\na_total{x=\"1\"} 2\n# EOF\n";
    let page = Exposition::parse(good).expect("is valid");
    assert_eq!(page.value("a_total", &[("x", "1")]), Some(2.0));
    let bad = [
        good.replace("# EOF\n", ""),
        good.replace("a_total", "a"),
        good.replace("a_total", "b_total"),
        good.replace("} 2", "} two"),
        good.replace("x=\"1\"", "x=1"),
        good.replace("x=\"1\"", "x=\"1\",x=\"2\""),
        good.replace("# TYPE a counter\n", ""),
        good.replace("# HELP a A thing.\n", ""),
        good.replace("# EOF", "a_total{x=\"1\"} 2\n# EOF"),
        good.replace("# EOF", "# HELP b B.\n# TYPE b gauge\nb 1\n# HELP a A.\n# EOF"),
        "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n# EOF\n"
            .into(),
        "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 1\nh_count 1\n# EOF\n".into(),
    ];
    for text in bad {
        assert!(Exposition::parse(&text).is_err(), "this was accepted:\n{text}");
    }
}
