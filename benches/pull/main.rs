//! lighterman against its peers: the same image, the same registry, in turns.
//!
//! ```text
//! tests/run --install                                         what a fresh Debian lacks
//! cargo bench --bench pull                                    every row, 5 turns: half an hour
//! cargo bench --bench pull -- --turns 3 large layout          two rows
//! cargo bench --bench pull -- --quick                         every row with tiny images, one turn
//! cargo bench --bench pull -- --json before.json --ours /elsewhere/lighterman
//! ```
//!
//! Each row is a target of the engine: a ratio against Debian's containerd (`ctr`) or skopeo,
//! medians of alternating turns. Images are made from this machine's own `/usr`, and what came
//! of it is printed. How a turn is kept honest:
//!
//! - Every pull lands on a disk of its own: a new ext4 with a journal on a loop device, with a
//!   new containerd. A root file system that has just deleted many files creates new ones slowly.
//! - Memory is touched before each turn: a virtual machine may have given it back to its host.
//! - containerd finds neither igzip nor unpigz, as on a stock node.
//! - CPU seconds are user and system time of the client and of containerd. Peak memory is the
//!   client's. Bytes on the wire are all that went over the loopback interface meanwhile.
//! - "synced" lines end when unpacked trees are on the disk, too: ours is told so, and a `syncfs`
//!   after the pull counts for both.
//!
//! Everything runs in namespaces of its own (mounts, processes, network), so that nothing is
//! left behind, however it ends. Needs root. `benches/README.md` says how to profile a row.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints its figures")]

mod arguments;
mod content;
mod daemon;
mod differ;
mod disk;
mod image;
mod measure;
mod outcome;
mod pullers;
mod registry;
mod report;
mod resolve;
mod rows;
mod sandbox;

use clap::Parser;

use arguments::Arguments;
use sandbox::Sandbox;

fn main() {
    if measure::is_wrapper() {
        measure::wrap();
    }
    let arguments = Arguments::parse();
    if arguments.list {
        rows::ALL.iter().for_each(|row| println!("{:<10} {}", row.name, row.title));
        return;
    }
    let Some(sandbox) = Sandbox::entered() else {
        sandbox::enter();
    };
    rows::run(&arguments, &sandbox);
}
