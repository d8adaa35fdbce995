//! References: what parses prints as something that parses to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lighterman::core::error::Classify as _;
use lighterman::core::image_name::ArchName;
use lighterman::core::reference::Reference;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match text.parse::<Reference>() {
        Ok(reference) => {
            assert!(!reference.registry().is_empty() && !reference.repository().is_empty());
            assert_eq!(reference.to_string().parse().as_ref(), Ok(&reference));
            assert_eq!(reference.familiar().parse().as_ref(), Ok(&reference), "the short form");
            if let Some(name) = ArchName::find(&reference) {
                assert_eq!(name.multi_arch.to_string().parse(), Ok(name.multi_arch));
            }
        }
        Err(error) => assert!(error.hint().is_some() && !error.to_string().is_empty()),
    }
});
