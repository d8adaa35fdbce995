//! Changing what an entry says that its child runs on.

use serde_json::{Value, json};

use super::error::DraftError;
use super::fields;
use crate::core::platform::{Platform, architecture_problem, variant_problem};

/// What becomes of one field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Edit<T> {
    /// It stays as it is, also where it is not there.
    #[default]
    Keep,
    /// It gets this value.
    Set(T),
    /// It goes.
    Clear,
}

impl<T> Edit<T> {
    /// Sets the value that there is, else clears or keeps.
    #[must_use]
    pub fn of(value: Option<T>, clear: bool) -> Self {
        match value {
            Some(value) => Self::Set(value),
            None if clear => Self::Clear,
            None => Self::Keep,
        }
    }
}

/// What becomes of the fields of a platform.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// `os`
    pub os: Edit<String>,
    /// `architecture`
    pub architecture: Edit<String>,
    /// `variant`
    pub variant: Edit<String>,
    /// `os.version`
    pub os_version: Edit<String>,
    /// `os.features`
    pub os_features: Edit<Vec<String>>,
    /// `features`, which only Docker's manifest lists know.
    pub features: Edit<Vec<String>>,
}

impl Change {
    /// Makes the platform this one: operating system, architecture and variant.
    #[must_use]
    pub fn to(platform: &Platform) -> Self {
        Self {
            os: Edit::Set(platform.os.clone()),
            architecture: Edit::Set(platform.architecture.clone()),
            variant: Edit::of(Some(platform.variant.clone()).filter(|variant| !variant.is_empty()), true),
            ..Self::default()
        }
    }

    /// It changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The entry after it; a platform that nothing is left of goes as a whole.
    pub(super) fn applied_to(&self, entry: &Value) -> Value {
        if self.is_empty() {
            return entry.clone();
        }
        let mut platform = fields(&entry["platform"]);
        let text = |edit: &Edit<String>| match edit {
            Edit::Keep => Edit::Keep,
            Edit::Set(text) => Edit::Set(json!(text)),
            Edit::Clear => Edit::Clear,
        };
        let list = |edit: &Edit<Vec<String>>| match edit {
            Edit::Keep => Edit::Keep,
            Edit::Set(list) => Edit::Set(json!(list)),
            Edit::Clear => Edit::Clear,
        };
        for (name, edit) in [
            ("architecture", text(&self.architecture)),
            ("os", text(&self.os)),
            ("os.version", text(&self.os_version)),
            ("os.features", list(&self.os_features)),
            ("variant", text(&self.variant)),
            ("features", list(&self.features)),
        ] {
            match edit {
                Edit::Keep => {}
                Edit::Set(value) => {
                    platform.insert(name.into(), value);
                }
                // The order of the others is the publisher's.
                Edit::Clear => {
                    platform.shift_remove(name);
                }
            }
        }
        let mut entry = fields(entry);
        if platform.is_empty() {
            entry.shift_remove("platform");
        } else {
            entry.insert("platform".into(), platform.into());
        }
        entry.into()
    }
}

/// That the platform of an entry is one that clients can match.
pub(super) fn check(entry: &Value) -> Result<(), DraftError> {
    let Some(value) = entry.get("platform").filter(|value| !value.is_null()) else { return Ok(()) };
    let platform: Platform =
        serde_json::from_value(value.clone()).map_err(|error| DraftError::Malformed { reason: error.to_string() })?;
    if platform.is_unknown() {
        return Ok(());
    }
    if platform.os.is_empty() || platform.architecture.is_empty() {
        return Err(DraftError::Incomplete { platform: value.to_string() });
    }
    if let Some(problem) = architecture_problem(&platform) {
        return Err(DraftError::Wrong {
            platform: platform.into(),
            why: problem.why,
            right: problem.right.map(Box::new),
        });
    }
    if let Some(problem) = variant_problem(&platform) {
        let right = problem.right.map(|variant| Box::new(Platform { variant, ..platform.clone() }));
        return Err(DraftError::Wrong { platform: platform.into(), why: problem.why, right });
    }
    Ok(())
}
