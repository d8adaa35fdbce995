//! How long `lighterman resolve` takes beyond what nobody can save: starting a process and
//! asking the registry once.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use super::image::Image;
use super::measure::measured;
use super::outcome::median;
use super::pullers::{empty_config, environment};
use super::registry::Registry;
use super::report::{Line, Target};
use super::rows::Bench;

/// Short as they are, many are needed; the registry's reply varies more than ours.
const RUNS: usize = 25;

/// The row of the table: milliseconds.
pub(crate) fn row(bench: &Bench<'_>, registry: &Registry) -> (Vec<Line>, Value) {
    let reference = Image::reference(registry);
    let config = empty_config(bench.scratch);
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&bench.arguments.ours);
        command.arg("--config").arg(&config).args(arguments);
        environment(&mut command, bench.scratch);
        measured(&command, bench.scratch).wall.as_secs_f64() * 1e3
    };
    let [mut start, mut trip, mut whole, mut guessed] = <[Vec<f64>; 4]>::default();
    let before = registry.requests();
    for _ in 0..RUNS {
        start.push(run(&["--version"]));
        trip.push(round_trip(registry));
        whole.push(run(&["resolve", "--plain-http", &reference]));
        // On loopback it finds out by itself that the registry speaks no TLS.
        guessed.push(run(&["resolve", &reference]));
    }
    let requests = ((registry.requests() - before) / RUNS - 1) / 2;
    let [start, trip, whole, guessed] = [start, trip, whole, guessed].map(median);
    let lines = vec![
        Line::own("resolve as a whole process", whole, Target::None("ms")),
        Line::own("  of it starting the process", start, Target::None("ms")),
        Line::own("  of it the registry's round trip", trip, Target::None("ms")),
        Line::own("  of it ours", whole - start - trip, Target::AtMost(1.0, "ms")),
        Line::own("  requests", requests as f64, Target::AtMost(1.0, "")),
        Line::own("  without being told that it is plain HTTP", guessed, Target::None("ms")),
    ];
    let details = json!({
        "wholeMs": whole, "guessedMs": guessed, "startMs": start, "roundTripMs": trip, "requests": requests,
    });
    (lines, details)
}

/// Connects, asks for the index, and reads the reply: milliseconds.
fn round_trip(registry: &Registry) -> f64 {
    let request = format!(
        "GET /v2/{}/manifests/1 HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
         Accept: application/vnd.oci.image.index.v1+json\r\n\r\n",
        Image::NAME,
        registry.address()
    );
    let started = Instant::now();
    let mut connection = TcpStream::connect(registry.address()).expect("the registry listens");
    connection.write_all(request.as_bytes()).expect("the registry reads");
    let mut reply = Vec::new();
    connection.read_to_end(&mut reply).expect("the registry answers");
    assert!(reply.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&reply));
    started.elapsed().as_secs_f64() * 1e3
}
