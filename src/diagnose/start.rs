//! What happens when an image is started, followed step by step as the runtime and the kernel
//! would: the program along PATH, the interpreters of scripts, the dynamic loader; then the same
//! for the programs that are started in its place, as far as scripts and arguments tell.
//!
//! Facts only; what they mean is for the [`checks`](super::checks). Specification: OCI
//! image-spec, config.md; Linux `fs/exec.c` and `fs/binfmt_script.c`; runc looks a bare name up
//! along PATH as Go's `exec.LookPath` does, which passes over what is no executable file.

use crate::core::elf::{Binary, Interpreter, Program};
use crate::core::extract::Extract;
use crate::core::manifest::ImageConfig;

use super::DiagnoseError;
use super::contents::{Chain, Distribution, Loader, LoaderFound, Next, OtherLoader, Start, Step, Stopped, What};
use super::rootfs::{A_DIRECTORY, File, Look, RootFs};
use super::shell::{self, Handed};
use super::{entrypoint, loaders};

/// Interpreters of interpreters that the kernel follows (`exec_binprm`), and then gives up.
const INTERPRETERS: usize = 5;
/// Linux reads this much of a script to find its interpreter (`BINPRM_BUF_SIZE`).
const SCRIPT_LINE: usize = 256;
/// Bytes of `os-release` that are read. Real ones have less than 1 KiB.
const OS_RELEASE: usize = 4096;
/// Where an image says which distribution it is (os-release(5)).
const OS_RELEASES: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];
/// Programs that start one another, followed behind the first. Nobody needs as many.
const HANDED_ON: usize = 5;
/// Words of a command that are looked at: what is started is among the first.
pub(super) const WORDS: usize = 64;

/// Follows the start of an image as far as its files can be read. Blocks.
///
/// # Errors
/// [`DiagnoseError`] where a layer cannot be read at all.
pub fn examine(rootfs: &mut dyn RootFs, config: &ImageConfig) -> Result<Start, DiagnoseError> {
    let argv = config.argv();
    let first = chain(rootfs, entrypoint::candidates(config), config)?;
    // A static program brings along what it needs of its distribution.
    let mut distribution = if first.loader.is_some() || rootfs.is_cheap() { distribution_of(rootfs)? } else { None };
    let next = behind(rootfs, &argv, &first, config)?;
    if distribution.is_none() && next.iter().any(|next| next.chain.loader.is_some()) {
        distribution = distribution_of(rootfs)?;
    }
    // To know that of layers that have to be fetched would take all of them.
    let no_directory = if rootfs.is_cheap() { no_directory(rootfs, config)? } else { None };
    let (others, cost) = (Vec::new(), rootfs.cost());
    Ok(Start { argv, first, next, others, distribution, no_directory, cost })
}

/// What the kernel does with the first of `paths` that can be executed.
fn chain(rootfs: &mut dyn RootFs, paths: Vec<String>, config: &ImageConfig) -> Result<Chain, DiagnoseError> {
    let (steps, stopped) = follow(rootfs, paths, config)?;
    let loader = match steps.last() {
        Some(Step { what: What::Elf(binary), .. }) => match &binary.interpreter {
            Interpreter::Path(path) => Some(loader(rootfs, path)?),
            Interpreter::None | Interpreter::BeyondPrefix => None,
        },
        _ => None,
    };
    Ok(Chain { steps, stopped, loader })
}

/// The programs that are started in the place of the first, one by the other.
fn behind(
    rootfs: &mut dyn RootFs,
    argv: &[String],
    first: &Chain,
    config: &ImageConfig,
) -> Result<Vec<Next>, DiagnoseError> {
    let mut found: Vec<Next> = Vec::new();
    let mut way = shell::named(argv.first().map_or("", String::as_str));
    let mut waiting = shell::handed_on(&argv[..argv.len().min(WORDS)], first);
    while let Some(Handed { by, through, mut argv, certain, renamed }) = waiting.pop_front() {
        argv.truncate(WORDS);
        let (Some(program), true) = (argv.first(), found.len() < HANDED_ON) else { break };
        let through = through.map(|through| format!(" -> {through}")).unwrap_or_default();
        way = format!("{way}{through} -> {}", shell::named(program));
        let chain = chain(rootfs, entrypoint::candidates_of(program, config), config)?;
        if !chain.starts() {
            waiting.clear();
        } else if waiting.is_empty() {
            // What a script starts is known already where env starts its shell.
            waiting = shell::handed_on(&argv, &chain);
        }
        let certain = certain && found.last().is_none_or(|before| before.certain);
        found.push(Next { by, way: way.clone(), argv, certain, renamed, chain });
    }
    Ok(found)
}

/// From the first of `paths` that can be executed to the binary that the kernel loads.
pub(super) fn follow(
    rootfs: &mut dyn RootFs,
    paths: Vec<String>,
    config: &ImageConfig,
) -> Result<(Vec<Step>, Option<Stopped>), DiagnoseError> {
    if paths.is_empty() {
        // A program without a name is not the same as none: it is looked for, and never found.
        let named = !config.argv().is_empty();
        let stopped = if named { Stopped::Absent { asked: vec![String::new()] } } else { Stopped::NoProgram };
        return Ok((Vec::new(), Some(stopped)));
    }
    let mut steps = Vec::new();
    let mut wanted = paths;
    loop {
        let file = match first_executable(rootfs, &wanted)? {
            Ok(file) => file,
            Err(stopped) => return Ok((steps, Some(stopped))),
        };
        let step = Step { what: classify(&file.content), file };
        let next = match &step.what {
            What::Script { interpreter, .. } if step.file.is_executable() && !interpreter.is_empty() => {
                Some(entrypoint::absolute(interpreter, config))
            }
            _ => None,
        };
        steps.push(step);
        match next {
            None => return Ok((steps, None)),
            Some(_) if steps.len() > INTERPRETERS => return Ok((steps, Some(Stopped::TooDeep))),
            Some(interpreter) => wanted = vec![interpreter],
        }
    }
}

/// The first of `paths` that is an executable file; where none is, the first that is anything.
fn first_executable(rootfs: &mut dyn RootFs, paths: &[String]) -> Result<Result<File, Stopped>, DiagnoseError> {
    let mut second_best = None;
    let mut rest = paths;
    while !rest.is_empty() {
        let (asked, otherwise) = match rootfs.look(rest)? {
            Look::File(file) if file.is_executable() => return Ok(Ok(file)),
            Look::File(file) => (file.asked.clone(), Ok(file)),
            Look::Other { asked, kind } => (asked.clone(), Err(Stopped::Other { asked, kind })),
            Look::Loop { asked } => (asked.clone(), Err(Stopped::Loop { asked })),
            Look::Absent => break,
            Look::NotRead(why) => {
                let not_read = Stopped::NotRead { asked: paths.to_vec(), why };
                return Ok(second_best.unwrap_or(Err(not_read)));
            }
        };
        second_best.get_or_insert(otherwise);
        let position = rest.iter().position(|path| *path == asked).unwrap_or(rest.len() - 1);
        rest = &rest[position + 1..];
    }
    Ok(second_best.unwrap_or_else(|| Err(Stopped::Absent { asked: paths.to_vec() })))
}

/// What a file is to the kernel.
pub(super) fn classify(content: &Extract) -> What {
    let prefix = content.prefix();
    match Program::read(content) {
        _ if content.size() == 0 => What::Empty,
        Ok(Program::Elf(binary)) => What::Elf(Box::new(binary)),
        Err(error) => What::Damaged(error),
        Ok(Program::Script(_)) => script(prefix, content.is_whole()),
        Ok(Program::Unknown) => What::Foreign { is_text: is_text(prefix) },
    }
}

/// The first line of a script as `load_script` reads it: blanks around the interpreter are
/// skipped, a carriage return is not.
fn script(prefix: &[u8], whole: bool) -> What {
    let read = &prefix[..prefix.len().min(SCRIPT_LINE)];
    let line = read.get(2..).unwrap_or_default();
    let end = line.iter().position(|byte| *byte == b'\n');
    let cut = end.is_none() && !(whole && prefix.len() < SCRIPT_LINE);
    let text = String::from_utf8_lossy(&line[..end.unwrap_or(line.len())]).into_owned();
    let text = text.trim_matches([' ', '\t', '\0']);
    let (interpreter, argument) = match text.split_once([' ', '\t']) {
        Some((interpreter, argument)) => (interpreter, Some(argument.trim_start_matches([' ', '\t']).to_owned())),
        None => (text, None),
    };
    // A cut argument is passed on as it is; a cut path is refused.
    What::Script { interpreter: interpreter.to_owned(), cut: cut && argument.is_none(), argument }
}

fn is_text(prefix: &[u8]) -> bool {
    let valid = match std::str::from_utf8(prefix) {
        Ok(_) => prefix.len(),
        // The last character may be cut.
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Err(_) => return false,
    };
    !prefix[..valid].contains(&0)
}

/// What is in the place of the working directory, where that is something else.
fn no_directory(rootfs: &mut dyn RootFs, config: &ImageConfig) -> Result<Option<&'static str>, DiagnoseError> {
    let Some(directory) = config.config.working_dir.as_deref().filter(|directory| !directory.is_empty()) else {
        return Ok(None);
    };
    Ok(match rootfs.look(&[entrypoint::absolute(directory, &ImageConfig::default())])? {
        Look::File(_) => Some("a file"),
        Look::Loop { .. } => Some("a symbolic link that leads to itself"),
        Look::Other { kind, .. } if kind != A_DIRECTORY => Some(kind),
        Look::Other { .. } | Look::Absent | Look::NotRead(_) => None,
    })
}

fn loader(rootfs: &mut dyn RootFs, path: &str) -> Result<Loader, DiagnoseError> {
    let found = match rootfs.look(&[path.to_owned()])? {
        Look::File(file) => match classify(&file.content) {
            What::Elf(binary) => LoaderFound::Elf(file, binary),
            _ => LoaderFound::Foreign(file),
        },
        Look::Other { .. } | Look::Loop { .. } | Look::Absent => LoaderFound::Absent { others: others(rootfs, path)? },
        Look::NotRead(why) => LoaderFound::NotRead(why),
    };
    Ok(Loader { asked: path.to_owned(), found })
}

/// Loaders that are there in place of the wanted one.
fn others(rootfs: &mut dyn RootFs, wanted: &str) -> Result<Vec<OtherLoader>, DiagnoseError> {
    let mut others = Vec::new();
    for path in loaders::paths().filter(|path| *path != wanted) {
        if let Look::File(file) = rootfs.look(&[path.to_owned()])? {
            let architecture = classify(&file.content).binary().and_then(Binary::architecture);
            others.push(OtherLoader { path: file.asked, architecture });
        }
    }
    Ok(others)
}

fn distribution_of(rootfs: &mut dyn RootFs) -> Result<Option<Distribution>, DiagnoseError> {
    let Look::File(file) = rootfs.look(&OS_RELEASES.map(String::from))? else { return Ok(None) };
    let prefix = file.content.prefix();
    let text = String::from_utf8_lossy(&prefix[..prefix.len().min(OS_RELEASE)]);
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.map(|value| value.trim().trim_matches(['"', '\'']).to_owned()).unwrap_or_default()
    };
    Ok(Some(Distribution {
        id: value("ID"),
        like: value("ID_LIKE").split_whitespace().map(String::from).collect(),
        version: value("VERSION_ID"),
        name: value("PRETTY_NAME"),
        layer: file.layer,
        verified: file.verified,
    }))
}

#[cfg(test)]
mod tests;
