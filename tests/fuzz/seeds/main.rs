//! Makes the inputs that fuzzing starts from: `seeds FOLDER` fills a folder for each target.
//!
//! Text is here as it is; archives, layers and messages are made, and programs are the first bytes
//! of those on this machine. So nothing large is committed, and what is real stays real.

mod binary;
mod text;

use std::fs;
use std::io;
use std::path::Path;

/// The inputs of one target.
type Seeds = Vec<Vec<u8>>;

fn main() -> io::Result<()> {
    let folder = std::env::args_os().nth(1).ok_or_else(|| io::Error::other("seeds FOLDER"))?;
    let archives = binary::archives();
    let targets: [(&str, Seeds); 20] = [
        ("api", binary::messages()),
        ("archive", archives.clone()),
        ("challenge", text::challenges()),
        ("cri", binary::pulls()),
        ("differ", binary::applications()),
        ("docker_config", text::logins()),
        ("elf", binary::programs()),
        ("host", text::hosts()),
        ("hosts_toml", text::hosts_toml()),
        ("inflate", binary::compressed(&archives)),
        ("layer", [archives.clone(), binary::compressed(&archives)].concat()),
        ("manifest", text::documents()),
        ("platform", text::platforms()),
        ("ranges", vec![vec![0, 0, 9, 0, 20, 9, 1, 5, 20, 2, 0, 40], vec![0, 7, 7, 0, 14, 7, 2, 0, 255]]),
        ("reference", text::references()),
        ("reply", text::replies()),
        ("rootfs", binary::layers()),
        ("start", text::starts()),
        ("toc", binary::listed()),
        ("tree", binary::layers()),
    ];
    for (target, seeds) in targets {
        let folder = Path::new(&folder).join(target);
        fs::create_dir_all(&folder)?;
        for (number, seed) in seeds.iter().enumerate() {
            fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
