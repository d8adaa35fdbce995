//! Which boot of the machine this is. What an earlier one had not synced may be lost, and none of
//! its processes lives.

use std::sync::LazyLock;

/// A number that the kernel draws when it starts; unlike times, it does not depend on the clock.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// This kernel's boot; `None` where it does not say.
pub(super) static BOOT: LazyLock<Option<String>> = LazyLock::new(|| {
    let id = std::fs::read_to_string(BOOT_ID).ok()?;
    let id = id.trim();
    (!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic())).then(|| id.to_owned())
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_says_its_boot_in_one_word() {
        assert!(BOOT.as_deref().is_some_and(|boot| !boot.contains(char::is_whitespace)));
    }
}
