//! docker's `config.json`, and the whole input once more as the `auth` of a server.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use lighterman::registry::credentials::docker::{Config, decode};
use lighterman::registry::{Credential, CredentialsError};
use lighterman_fuzz::heap;

fuzz_target!(|data: &[u8]| {
    let path = Path::new("/home/ann/.docker/config.json");
    let lines = 1 + data.iter().filter(|byte| **byte == b'\n').count();
    match heap::within(64 * 1024 + 200 * data.len(), || Config::parse(path, data)) {
        Ok(config) => {
            let again = Config::parse(path, data).expect("as before");
            for authority in ["registry.example:5000", "quay.io", "docker.io", ""] {
                assert!(config.helper(authority).is_none_or(|name| !name.is_empty()));
                assert_eq!(config.helper(authority), again.helper(authority));
                assert_eq!(config.stored(authority).ok(), again.stored(authority).ok());
                if let Err(error) = config.stored(authority) {
                    assert!(matches!(error, CredentialsError::Auth { .. }), "{error:?}");
                }
            }
            // All of them are docker.io.
            let hub = ["docker.io", "index.docker.io", "registry-1.docker.io"];
            let stored = hub.map(|name| config.stored(name).ok());
            assert!(stored.iter().all(|one| *one == stored[0]));
        }
        Err(CredentialsError::Malformed { line, .. }) => assert!(line <= lines, "line {line} of {lines}"),
        Err(error) => panic!("{error:?}"),
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Some(credential) = decode(text)
    {
        let Credential::Basic { user, .. } = credential else { panic!("{credential:?}") };
        assert!(!user.contains(':'));
    }
});
