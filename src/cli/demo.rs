//! `lighterman demo`: the newcomer's tour, with the real client code against a registry on
//! loopback. Everything is in a temporary folder that is gone afterwards.

use std::sync::Arc;

use console::style;
use tokio::net::TcpListener;

use crate::core::limits::Limits;
use crate::core::mismatch::Stance;
use crate::core::platform::Platform;
use crate::core::reference::{Reference, ReferenceError};
use crate::cpu::Cpu;
use crate::demo::{DemoError, image, run as program};
use crate::diagnose::inspect::{Inspection, inspect};
use crate::diagnose::rootfs::blobs::Stored;
use crate::diagnose::rootfs::layers::{Effort, Layers};
use crate::diagnose::rootfs::{Look, RootFs as _};
use crate::fetch::progress::Silent;
use crate::fetch::{Engine, Fetcher};
use crate::host::{Execution, LocalHost, System};
use crate::pull::{Platforms, PullRequest, Pulled, Puller};
use crate::registry::{Client, Credentials, HostOptions, hosts_for};
use crate::resolve::choice::{self, Level, Wish};
use crate::resolve::resolution::Explained;
use crate::resolve::{Reading, Resolver};
use crate::service::mirror;
use crate::store::Store;
use crate::store::layout::Layout;

use super::context::Context;
use super::{Failure, explain, report};

/// The platform whose entry of the second image holds a program for another one.
const MISLABELLED: (&str, &str) = ("arm64", "");

pub(super) async fn run(_context: &Context) -> Result<(), Failure> {
    let folder = tempfile::tempdir().map_err(|source| DemoError::File {
        action: "create",
        path: std::env::temp_dir(),
        source,
    })?;
    let published = folder.path().join("published");
    image::build(&published)?;
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(DemoError::Loopback)?;
    let registry = listener.local_addr().map_err(DemoError::Loopback)?.to_string();
    // It ends with the runtime, at the end of the tour.
    tokio::spawn(mirror::layout::serve(listener, published, std::future::pending()));
    let tour =
        Tour { registry, pulled: folder.path().join("pulled"), host: LocalHost::new(Box::new(System::default())) };
    tour.host();
    tour.right_image().await?;
    tour.mislabelled_image().await?;
    tour.farewell();
    Ok(())
}

struct Tour {
    registry: String,
    pulled: std::path::PathBuf,
    host: LocalHost,
}

impl Tour {
    fn host(&self) {
        report::result(&format!(
            "A registry on loopback ({}) offers two multi-arch images with tiny real programs.\n",
            self.registry
        ));
        heading("What does this node run?", "lighterman host");
        let runs = self.host.complete().runs.iter().filter_map(|runs| {
            let how = match &runs.execution {
                Execution::Native => "natively",
                Execution::Compat => "in 32-bit mode",
                Execution::Emulated { .. } => "by an emulator",
                Execution::No { .. } | Execution::Unknown { .. } => return None,
            };
            Some(format!("linux/{} {how}", runs.architecture))
        });
        let level = self.host.report().isa_platform();
        indent(&format!("{}; the CPU is {level}", runs.collect::<Vec<_>>().join(", ")));
    }

    /// The image as it should be: one name, and every CPU gets its own program.
    async fn right_image(&self) -> Result<(), Failure> {
        let reference = self.reference(image::HELLO)?;
        heading("One name, many CPUs: which manifest is ours?", "lighterman resolve --explain hello");
        let fetcher = fetcher(&reference)?;
        let resolver = Resolver { fetcher: &fetcher, store: None, check_access: false, limits: Limits::default() };
        let resolved = resolver.image(&reference, Reading::Everything).await?;
        let wish = Wish::default();
        let choice = choice::choose(&resolved, &wish, &self.host);
        let explanation = choice::explain(&resolved, &wish, &self.host, choice.as_ref().ok());
        indent(&explain::as_text(&resolved.reference.to_string(), &Explained::new(&resolved, &explanation)));

        heading("Fetch it, every byte verified, and start it", "lighterman pull hello --to oci:hello");
        // A CPU that the demo has no program for sees the tour all the same.
        let platform = if choice.is_ok() { None } else { Some(Platform::linux("amd64", "")) };
        let pulled = self.pull(&reference, platform).await?;
        indent(&summary(&pulled));
        let inspection = self.inspect(&reference).await?;
        indent(&started(&inspection, self.start(&inspection).await?));
        Ok(())
    }

    /// The image as it too often is: a 32-bit arm program, declared arm64.
    async fn mislabelled_image(&self) -> Result<(), Failure> {
        let reference = self.reference(image::MISLABELLED)?;
        let platform = Platform::linux(MISLABELLED.0, MISLABELLED.1);
        heading(
            "How it goes wrong: an arm program, published as arm64",
            "lighterman pull mislabelled --platform linux/arm64 --to oci:mislabelled; lighterman inspect",
        );
        self.pull(&reference, Some(platform)).await?;
        let inspection = self.inspect(&reference).await?;
        indent(&super::inspect::as_text(&inspection));
        indent(&started(&inspection, self.start(&inspection).await?));
        Ok(())
    }

    fn farewell(&self) {
        report::result(&format!(
            "\nOther clients pull that image without a word, and it dies when it is started.\n\
             Next: {} on images of your own.",
            style("lighterman resolve --explain REF").bold()
        ));
    }

    fn reference(&self, name: &str) -> Result<Reference, ReferenceError> {
        format!("{}/{name}", self.registry).parse()
    }

    async fn pull(&self, reference: &Reference, platform: Option<Platform>) -> Result<Pulled, Failure> {
        let store = Layout::open_or_create(&self.pulled)?;
        let fetcher = fetcher(reference)?;
        let puller = Puller {
            fetcher: &fetcher,
            store: &store,
            unpacker: None,
            check_access: false,
            host: &self.host,
            limits: Limits::default(),
            observer: &Silent,
        };
        let request = PullRequest {
            reference: reference.clone(),
            platforms: platform.map_or(Platforms::Host, |platform| Platforms::Listed(vec![platform])),
            level: Level::Containerd,
            on_mismatch: Stance::default(),
        };
        let plan = puller.plan(&request).await?;
        Ok(puller.land(&plan, &Default::default()).await?)
    }

    async fn inspect(&self, reference: &Reference) -> Result<Inspection, Failure> {
        let store: Arc<dyn Store> = Arc::new(Layout::open(&self.pulled)?);
        Ok(inspect(&store, &reference.to_string(), &Limits::default()).await?)
    }

    /// Takes the program out of the pulled image and executes it.
    async fn start(&self, inspection: &Inspection) -> Result<program::Outcome, Failure> {
        let layers = inspection.images.first().map(|image| image.layers.clone()).unwrap_or_default();
        let mut blobs = Stored::new(Arc::new(Layout::open(&self.pulled)?), tokio::runtime::Handle::current());
        let search = tokio::task::spawn_blocking(move || {
            let mut files = Layers::new(&layers, Vec::new(), &mut blobs, Effort::default())?;
            files.look(&[image::PROGRAM.to_owned()])
        });
        let found = search.await.map_err(|error| crate::store::StoreError::thread(&error))??;
        let bytes = match &found {
            Look::File(file) if file.content.is_whole() => file.content.prefix(),
            _ => &[],
        };
        Ok(program::run(bytes).await?)
    }
}

fn fetcher(reference: &Reference) -> Result<Fetcher, Failure> {
    let limits = Limits::default();
    let client = Client::new(Credentials::anonymous(), limits)?;
    let hosts = hosts_for(reference, &HostOptions::default())?;
    Ok(Fetcher::new(Engine::new(client, Cpu::new(), limits), hosts, Arc::new(Silent)))
}

fn summary(pulled: &Pulled) -> String {
    let traffic = pulled.traffic;
    format!(
        "{} blobs, {} in {} ms: sizes and digests hold",
        traffic.blobs_fetched,
        report::bytes(traffic.bytes_fetched),
        pulled.elapsed.as_millis()
    )
}

fn started(inspection: &Inspection, outcome: program::Outcome) -> String {
    let platform = inspection.images.first().and_then(|image| image.declared.clone()).unwrap_or_default();
    let how = match outcome {
        program::Outcome::Finished { stdout, code: Some(0) } => format!("prints {:?}", stdout.trim_end()),
        program::Outcome::Finished { code: Some(code), .. } => format!("fails with status {code}"),
        program::Outcome::Finished { .. } => "is killed by a signal".into(),
        program::Outcome::ExecFormat => style("exec format error").red().bold().to_string(),
    };
    format!("started here, the program declared {platform}: {how}")
}

fn heading(question: &str, command: &str) {
    report::result(&format!("\n{}  {}", style(question).bold(), style(format!("$ {command}")).dim()));
}

fn indent(text: &str) {
    let lines: Vec<String> = text.lines().map(|line| format!("  {line}").trim_end().to_owned()).collect();
    report::result(&lines.join("\n"));
}
