//! Credentials: where they come from, where they go, and where they never go.

use serde_json::json;

use crate::support::fixture::{Image, base64, tiny};
use crate::support::liar::{Liar, Reply};
use crate::support::lighterman::{Lighterman, exit};
use crate::support::registry::{PASSWORD, Registry, USER};
use crate::support::token::{Policy, REFRESH_TOKEN, TokenServer, docker_auth};
use crate::support::{files_below, host};

fn image() -> Image {
    Image::single(tiny(host().arch, ""))
}

fn login() -> String {
    format!("{PASSWORD}\n")
}

#[test]
fn a_password_from_standard_input_opens_a_registry_with_basic_authentication() {
    let registry = Registry::basic();
    let reference = registry.push(&image(), "app:1");
    let args = ["resolve", &reference, "--user", USER, "--password-stdin"];
    let resolved = Lighterman::new().run_with_stdin(&args, &login()).succeeds();
    assert!(resolved.stdout.starts_with(&image().root.digest));
}

#[test]
fn dockers_config_json_opens_the_registry_that_it_names_and_no_other() {
    let registry = Registry::basic();
    let reference = registry.push(&image(), "app:1");
    let known = Lighterman::new().with_docker_config(&docker_auth(registry.address(), USER, PASSWORD));
    known.run(&["resolve", &reference]).succeeds();
    let other = Lighterman::new().with_docker_config(&docker_auth("registry.example", USER, PASSWORD));
    other.run(&["resolve", &reference]).fails(exit::CREDENTIALS).says(&[registry.address(), "hint: "]);
}

#[test]
fn a_credential_helper_is_asked_and_its_failure_is_a_configuration_error() {
    let registry = Registry::basic();
    let reference = registry.push(&image(), "app:1");
    let config = json!({ "credHelpers": { registry.address(): "quay" } });
    let helper = format!("#!/bin/sh\necho '{{\"Username\":\"{USER}\",\"Secret\":\"{PASSWORD}\"}}'\n");
    let user = Lighterman::new().with_docker_config(&config).with_program("docker-credential-quay", &helper);
    user.run(&["resolve", &reference]).succeeds();
    let user = Lighterman::new().with_docker_config(&config);
    user.run(&["resolve", &reference]).fails(exit::CONFIGURATION).says(&["docker-credential-quay"]);
}

#[test]
fn a_credentials_store_is_asked_for_every_registry() {
    let registry = Registry::basic();
    let reference = registry.push(&image(), "app:1");
    let helper = format!(
        "#!/bin/sh\nread -r server\n[ \"$server\" = {} ] || {{ echo 'credentials not found in native keychain'; exit 1; }}\n\
         echo '{{\"Username\":\"{USER}\",\"Secret\":\"{PASSWORD}\"}}'\n",
        registry.address()
    );
    let user = Lighterman::new()
        .with_docker_config(&json!({ "credsStore": "quay" }))
        .with_program("docker-credential-quay", &helper);
    user.run(&["resolve", &reference]).succeeds();
    // A store that knows nothing of a registry means: go on without.
    let open = Registry::plain();
    let reference = open.push(&image(), "app:1");
    user.run(&["resolve", &reference]).succeeds();
}

#[test]
fn wrong_and_missing_credentials_have_their_own_exit_code_and_stay_secret() {
    let registry = Registry::basic();
    let reference = registry.push(&image(), "app:1");
    let user = Lighterman::new();
    let (layout, destination) = user.layout("layout");
    user.run(&["pull", &reference, "--to", &destination]).fails(exit::CREDENTIALS).says(&["--password-stdin"]);
    let args = ["pull", &reference, "--to", &destination, "-u", USER, "--password-stdin", "--log-level", "trace"];
    let wrong = user.run_with_stdin(&args, "herring-barrel\n").fails(exit::CREDENTIALS);
    assert!(!wrong.stderr.contains("herring-barrel"), "the password is in the messages:\n{}", wrong.stderr);
    let encoded = base64(&format!("{USER}:herring-barrel"));
    assert!(!wrong.stderr.contains(&encoded), "the password is in the messages:\n{}", wrong.stderr);
    assert!(!layout.exists(), "a refused pull left {:?}", files_below(&layout));
}

#[test]
fn a_password_in_the_arguments_is_refused_without_repeating_it() {
    let user = Lighterman::new();
    let refused = user.run(&["resolve", "localhost/app:1", "--user", "porter:herring-barrel"]).ends(exit::USAGE);
    assert!(refused.stderr.contains("--password-stdin"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("herring-barrel"), "{}", refused.stderr);
}

#[test]
fn anonymous_tokens_are_fetched_once_and_used_for_everything() {
    let tokens = TokenServer::start(Policy::Anonymous);
    let registry = Registry::token(&tokens);
    let reference = registry.push(crate::support::fixture::busybox(), "library/busybox:1");
    let user = Lighterman::new();
    let (_, destination) = user.layout("layout");
    user.run(&["pull", &reference, "--all-platforms", "--to", &destination]).succeeds();
    let asked = tokens.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].scopes, ["repository:library/busybox:pull"]);
    assert_eq!((asked[0].method.as_str(), asked[0].user.as_str()), ("GET", ""));
}

#[test]
fn a_user_gets_a_token_by_oauth2_or_where_there_is_none_by_get() {
    for (policy, last) in [(Policy::Users, "POST"), (Policy::UsersByGet, "GET")] {
        let tokens = TokenServer::start(policy);
        let registry = Registry::token(&tokens);
        let reference = registry.push(&image(), "app:1");
        let user = Lighterman::new().with_docker_config(&docker_auth(registry.address(), USER, PASSWORD));
        user.run(&["resolve", &reference]).succeeds();
        let asked = tokens.asked();
        let got = asked.last().unwrap_or_else(|| panic!("{policy:?}: no token was asked for"));
        assert_eq!(got.user, USER, "{policy:?}: {asked:?}");
        assert_eq!(got.method, last, "{policy:?}: {asked:?}");
    }
}

#[test]
fn an_identity_token_is_exchanged_as_a_refresh_token() {
    let tokens = TokenServer::start(Policy::Users);
    let registry = Registry::token(&tokens);
    let reference = registry.push(&image(), "app:1");
    let config = json!({ "auths": { registry.address(): {
        "auth": base64("00000000-0000-0000-0000-000000000000:"), "identitytoken": REFRESH_TOKEN,
    } } });
    Lighterman::new().with_docker_config(&config).run(&["resolve", &reference]).succeeds();
    assert!(tokens.asked().iter().any(|a| a.grant == "refresh_token"), "{:?}", tokens.asked());
}

#[test]
fn a_token_that_the_registry_no_longer_takes_is_replaced_once() {
    let tokens = TokenServer::start(Policy::Anonymous);
    let registry = Registry::token(&tokens);
    let reference = registry.push(&image(), "app:1");
    tokens.hand_out_stale(1);
    Lighterman::new().run(&["resolve", &reference]).succeeds();
    assert_eq!(tokens.asked().len(), 2, "{:?}", tokens.asked());
    tokens.hand_out_stale(u32::MAX);
    Lighterman::new().run(&["resolve", &reference]).fails(exit::CREDENTIALS);
    assert!(tokens.asked().len() <= 6, "a token that is never taken was asked for again and again");
}

#[test]
fn a_token_that_ends_halfway_through_a_pull_is_replaced() {
    let tokens = TokenServer::start(Policy::Anonymous);
    let image = image();
    let registry = Liar::serving(&image, "app:1");
    let challenge = format!(
        "Bearer realm=\"{}\",service=\"{}\",scope=\"repository:app:pull\"",
        tokens.realm(),
        TokenServer::SERVICE
    );
    let refuse = |error: &str| Reply::Status(401, vec![("www-authenticate", format!("{challenge}{error}"))], "{}");
    let blob = format!("GET /v2/app/blobs/{}", image.blobs()[0].digest);
    registry.plan("/v2/app/manifests/1", [refuse("")]);
    registry.plan(&blob, [refuse(",error=\"invalid_token\"")]);
    let user = Lighterman::new();
    let (_, destination) = user.layout("layout");
    user.run(&["pull", &registry.reference("app:1"), "--to", &destination]).succeeds();
    assert_eq!(tokens.asked().len(), 2, "{:?}", tokens.asked());
    let sent = registry.requests_for(&blob);
    let tokens_sent: Vec<_> = sent.iter().map(|r| r.header("authorization")).collect();
    assert!(tokens_sent[0].is_some() && tokens_sent.last() != tokens_sent.first(), "{sent:?}");
}

#[test]
fn known_users_are_told_when_their_rights_do_not_suffice() {
    let tokens = TokenServer::start(Policy::Users);
    let registry = Registry::token(&tokens);
    let reference = registry.push(&image(), "private/app:1");
    let user = Lighterman::new().with_docker_config(&docker_auth(registry.address(), USER, PASSWORD));
    user.run(&["resolve", &reference]).fails(exit::CREDENTIALS).says(&["private/app"]);
    let wrong = Lighterman::new().with_docker_config(&docker_auth(registry.address(), USER, "wrong"));
    wrong.run(&["resolve", &reference]).fails(exit::CREDENTIALS);
}

#[test]
fn credentials_do_not_follow_a_redirect_to_another_host() {
    let image = image();
    let (registry, elsewhere) = (Liar::serving(&image, "app:1"), Liar::serving(&image, "app:1"));
    registry.require(&format!("Basic {}", base64(&format!("{USER}:{PASSWORD}"))));
    for blob in image.blobs() {
        let path = format!("/v2/app/blobs/{}", blob.digest);
        let target = format!("http://{}{path}", elsewhere.address());
        let redirect = Reply::Status(307, vec![("location", target)], "");
        registry.plan(&format!("GET {path}"), std::iter::repeat_n(redirect, 10));
    }
    let user = Lighterman::new().with_docker_config(&docker_auth(&registry.address(), USER, PASSWORD));
    let (_, destination) = user.layout("layout");
    user.run(&["pull", &registry.reference("app:1"), "--to", &destination]).succeeds();
    let followed = elsewhere.requests_for("GET /v2/app/blobs/");
    assert!(followed.len() >= image.blobs().len(), "{followed:?}");
    assert!(elsewhere.requests().iter().all(|r| r.header("authorization").is_none()), "{followed:?}");
}
