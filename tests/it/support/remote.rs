//! A small registry client of the tests' own: pushes fixtures, and fetches to compare.

use std::path::Path;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION};
use reqwest::{Certificate, Client, RequestBuilder, StatusCode};
use tokio::runtime::Runtime;

use super::certs::Identity;
use super::fixture::{Blob, Image};

/// docker-registry hides an OCI index from who does not ask for one.
const ANY_MANIFEST: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// How to speak to one registry.
pub(crate) struct Remote {
    base: String,
    client: Client,
    authorization: Option<String>,
    runtime: Runtime,
}

/// What a registry wants to see before it lets anybody in.
#[derive(Default)]
pub(crate) struct Passport<'a> {
    /// Who signed the server's certificate; `None` for plain HTTP.
    pub(crate) ca: Option<&'a Path>,
    /// Who we are, for a server that asks for certificates.
    pub(crate) identity: Option<&'a Identity>,
    /// An `Authorization` header.
    pub(crate) authorization: Option<String>,
}

impl Remote {
    /// A client for the registry at `address`.
    pub(crate) fn new(address: &str, passport: Passport<'_>) -> Self {
        // Two tests may try to install it at once; either one will do.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let read = |file: &Path| std::fs::read(file).expect("a certificate file");
        let mut builder = Client::builder().no_proxy();
        if let Some(ca) = passport.ca {
            builder = builder.tls_certs_only([Certificate::from_pem(&read(ca)).expect("a certificate")]);
        }
        if let Some(identity) = passport.identity {
            let pem = [read(&identity.certificate), read(&identity.key)].concat();
            builder = builder.identity(reqwest::Identity::from_pem(&pem).expect("certificate and key"));
        }
        let scheme = if passport.ca.is_some() { "https" } else { "http" };
        Self {
            base: format!("{scheme}://{address}"),
            client: builder.build().expect("an HTTP client"),
            authorization: passport.authorization,
            runtime: Runtime::new().expect("a runtime"),
        }
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.authorization {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        }
    }

    async fn send(&self, request: RequestBuilder, expected: StatusCode) -> reqwest::Response {
        let response = self.authorized(request).send().await.expect("the registry answers");
        let (status, url) = (response.status(), response.url().clone());
        if status != expected {
            panic!("{url} answered {status}: {}", response.text().await.unwrap_or_default());
        }
        response
    }

    async fn push_blob(&self, repository: &str, blob: &Blob) {
        let start = self.client.post(format!("{}/v2/{repository}/blobs/uploads/", self.base));
        let started = self.send(start, StatusCode::ACCEPTED).await;
        let location = started.headers()[LOCATION].to_str().expect("an ASCII location");
        let upload = self.client.put(format!("{location}&digest={}", blob.digest)).body(blob.bytes.clone());
        self.send(upload, StatusCode::CREATED).await;
    }

    async fn push_document(&self, repository: &str, target: &str, document: &Blob) {
        let put = self.client.put(format!("{}/v2/{repository}/manifests/{target}", self.base));
        let put = put.header(CONTENT_TYPE, &document.media_type).body(document.bytes.clone());
        self.send(put, StatusCode::CREATED).await;
    }

    /// Pushes an image with everything below it.
    pub(crate) fn push(&self, image: &Image, repository: &str, tag: &str) {
        self.runtime.block_on(async {
            for blob in image.blobs() {
                self.push_blob(repository, blob).await;
            }
            for document in &image.documents {
                self.push_document(repository, &document.digest, document).await;
            }
            self.push_document(repository, tag, &image.root).await;
        });
    }

    /// The status and body of a GET.
    pub(crate) fn get(&self, path: &str) -> (u16, bytes::Bytes) {
        self.runtime.block_on(async {
            let request = self.authorized(self.client.get(format!("{}{path}", self.base))).header(ACCEPT, ANY_MANIFEST);
            let response = request.send().await.expect("the registry answers");
            (response.status().as_u16(), response.bytes().await.expect("a whole body"))
        })
    }
}
