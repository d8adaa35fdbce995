//! The table for a person, and every figure as JSON.

use std::process::Command;

use serde_json::{Map, Value, json};

use super::arguments::Arguments;
use super::image::Made;
use super::outcome::{Turn, Turns};
use super::pullers::{Puller, Trees};

/// What a figure has to reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// At least so many times faster than the peer.
    Faster(f64),
    /// At the most so much, in this unit.
    AtMost(f64, &'static str),
    /// Nothing; it only helps to understand another one.
    None(&'static str),
}

/// A line of the table.
pub(crate) struct Line {
    title: String,
    cells: [String; 7],
}

const HEADINGS: [&str; 7] = ["lighterman", "peer", "ratio", "target", "CPU s", "peak MiB", "wire MB"];

impl Line {
    /// Ours against a peer's, by a figure in seconds.
    pub(crate) fn ratio(title: &str, sides: [&Turns; 2], (figure, target): (fn(&Turn) -> f64, Target)) -> Self {
        let [ours, peer] = sides.map(|turns| turns.median(figure));
        let ratio = peer / ours.max(f64::MIN_POSITIVE);
        let both = |figure: fn(&Turn) -> f64| sides.map(|turns| format!("{:.1}", turns.median(figure))).join(" / ");
        let cpu = sides.map(|turns| format!("{:.2}", turns.median(Turn::cpu))).join(" / ");
        let cells = [
            seconds(ours),
            seconds(peer),
            format!("{ratio:.2}x"),
            target.verdict(ratio),
            cpu,
            both(Turn::peak),
            both(Turn::wire),
        ];
        Self { title: title.to_owned(), cells }
    }

    /// A figure of ours that needs no peer.
    pub(crate) fn own(title: &str, figure: f64, target: Target) -> Self {
        let unit = match target {
            Target::AtMost(_, unit) | Target::None(unit) => unit,
            Target::Faster(_) => "s",
        };
        let mut cells: [String; 7] = Default::default();
        cells[0] = format!("{figure:.1} {unit}").trim_end().to_owned();
        cells[3] = target.verdict(figure);
        Self { title: title.to_owned(), cells }
    }
}

impl Target {
    fn verdict(self, figure: f64) -> String {
        let (met, text) = match self {
            Self::Faster(times) => (figure >= times, format!("{times:.1}x")),
            Self::AtMost(most, unit) => (figure <= most, format!("<= {most:.0} {unit}").trim_end().to_owned()),
            Self::None(_) => return String::new(),
        };
        format!("{text} {}", if met { "met" } else { "MISSED" })
    }
}

/// Everything that was found out.
pub(crate) struct Report<'a> {
    arguments: &'a Arguments,
    lines: Vec<Line>,
    rows: Map<String, Value>,
    setting: Value,
}

impl<'a> Report<'a> {
    pub(crate) fn new(arguments: &'a Arguments) -> Self {
        let setting = setting(arguments);
        println!("{setting:#}");
        Self { arguments, lines: Vec::new(), rows: Map::new(), setting }
    }

    pub(crate) fn add(&mut self, row: &str, lines: Vec<Line>, details: Value) {
        self.lines.extend(lines);
        self.rows.insert(row.to_owned(), details);
        self.save();
    }

    /// After every row, so that an interrupted run has told what it knew.
    fn save(&self) {
        let Some(file) = &self.arguments.json else { return };
        let all = json!({"setting": self.setting, "rows": self.rows});
        std::fs::write(file, format!("{all:#}\n")).expect("a writable JSON file");
    }

    pub(crate) fn print(&self) {
        let turns = self.arguments.turns();
        println!("\nMedians of {turns} alternating turns; pairs are lighterman / peer.\n");
        print(&format!("{:<48}", "work"), &HEADINGS.map(str::to_owned));
        self.lines.iter().for_each(|line| print(&line.title, &line.cells));
    }
}

fn print(title: &str, cells: &[String; 7]) {
    let widths = [11, 10, 7, 16, 13, 14, 15];
    let cells: String = cells.iter().zip(widths).map(|(cell, width)| format!(" {cell:>width$}")).collect();
    println!("{title:<48}{cells}");
}

fn seconds(figure: f64) -> String {
    if figure < 1.0 { format!("{:.0} ms", figure * 1e3) } else { format!("{figure:.2} s") }
}

/// What the figures depend on.
fn setting(arguments: &Arguments) -> Value {
    let version = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output();
        let output = output.unwrap_or_else(|error| panic!("{program} is needed: apt-get install it ({error})"));
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned()
    };
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default().trim().to_owned();
    let ours = arguments.ours.display().to_string();
    json!({
        "lighterman": version(&ours, "--version"),
        "containerd": version("containerd", "--version"),
        "skopeo": version("skopeo", "--version"),
        "docker-registry": version("docker-registry", "--version"),
        "nginx": version("nginx", "-v"),
        "kernel": read("/proc/sys/kernel/osrelease"),
        "cores": std::thread::available_parallelism().map_or(1, usize::from),
        "loadBefore": read("/proc/loadavg"),
        "disks": arguments.disk.as_ref().map_or("memory".to_owned(), |folder| folder.display().to_string()),
        "peerInflates": "in Go, without igzip or unpigz",
        "turns": arguments.turns(),
        "quick": arguments.quick,
    })
}

/// Says what comes next.
pub(crate) fn progress(title: &str) {
    eprintln!("== {title}");
}

/// Says what an image came to.
pub(crate) fn image(made: &Made) {
    let Made { layers, files, bytes, compressed } = made;
    let [bytes, compressed] = [*bytes, *compressed].map(|bytes| bytes as f64 / 1e6);
    eprintln!("   {layers} layers, {files} files, {bytes:.0} MB, {compressed:.1} MB in gzip");
}

/// Says what one turn took.
pub(crate) fn turn(puller: &Puller, turn: &Turn) {
    let name = match puller {
        Puller::Ours(_, Trees::Cached) => "lighterman",
        Puller::Ours(_, Trees::Synced) => "  syncing",
        Puller::Before(_) => "before",
        Puller::Peer => "peer",
    };
    let (wall, synced, cpu, requests) = (seconds(turn.wall()), seconds(turn.synced()), turn.cpu(), turn.requests);
    eprintln!(
        "   {name:<10} {wall:>9}, synced {synced:>9}, {cpu:>5.2} CPU s, registry {:.2}, {:>5.0} MiB, {requests} requests",
        turn.registry_cpu(),
        turn.peak()
    );
}
