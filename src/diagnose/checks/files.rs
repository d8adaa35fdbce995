//! What an image starts, held against the files that are in it: the ways in which a program
//! cannot even be loaded, whatever the CPU. The same for the programs that are started in its place:
//! what is started for certain counts as much, what may be started is worth a warning.

mod loader;
mod others;

use serde_json::json;

use crate::core::text::{one_line, shell_word};
use crate::diagnose::contents::{By, Chain, Contents, Next, Step, Stopped, What};
use crate::diagnose::entrypoint;
use crate::diagnose::evidence::{in_file, of_file};
use crate::diagnose::finding::{Evidence, Finding, Id, Remedy, Severity};
use crate::diagnose::rootfs::File;

/// Bytes of a file that are shown as evidence: the ELF identification and what it begins with.
const SHOWN: usize = 20;
/// Bytes of names; an image may have any.
const NAMES: usize = 400;

/// The findings of one image.
#[must_use]
pub fn check(contents: &Contents) -> Vec<Finding> {
    let Some(start) = &contents.start else { return Vec::new() };
    let mut findings = of_chain(&start.first, contents);
    findings.extend(start.no_directory.map(|kind| of_directory(kind, contents)));
    findings.extend(others::check(start, contents));
    findings.extend(start.next.iter().flat_map(|next| of_next(next, contents)));
    findings.into_iter().map(|finding| finding.at(&contents.path)).collect()
}

/// What is wrong with a program and with what it takes to load it.
fn of_chain(chain: &Chain, contents: &Contents) -> Vec<Finding> {
    let mut findings: Vec<Finding> = chain.steps.iter().filter_map(of_step).collect();
    findings.extend(chain.stopped.as_ref().and_then(|stopped| of_end(stopped, &chain.steps, contents)));
    if let (Some(loader), Some((file, binary))) = (&chain.loader, chain.binary()) {
        findings.extend(loader::check(loader, file, binary));
    }
    findings
}

/// The same of a program that another one starts.
fn of_next(next: &Next, contents: &Contents) -> Vec<Finding> {
    let first = next.chain.steps.first();
    // A shell runs text itself that the kernel refuses.
    let is_run = next.by == By::Shell
        && first.is_some_and(|step| {
            step.file.is_executable() && matches!(step.what, What::Foreign { is_text: true } | What::Empty)
        });
    // A script that knows names of its own takes other programs for them.
    let is_other = next.renamed && !first.is_some_and(|step| step.file.is_executable());
    if is_run || is_other {
        return Vec::new();
    }
    let mut findings = match (&next.chain.stopped, first) {
        (Some(Stopped::Absent { .. }), None) => vec![missing_next(next, contents)],
        _ => of_chain(&next.chain, contents),
    };
    for finding in &mut findings {
        finding.message.push_str(&format!(" (started by way of {})", next.way));
        if !next.certain {
            finding.severity = finding.severity.min(Severity::Warning);
        }
    }
    findings
}

fn missing_next(next: &Next, contents: &Contents) -> Finding {
    let program = next.argv.first().map_or("", String::as_str);
    let message = format!("the image starts {program:?}, which is not in it");
    error(Id::EntryNotFound, message)
        .shown_by(of_config(contents))
        .mended_by(Remedy::new("install it in the image, or correct ENTRYPOINT, CMD or the script that names it"))
}

fn error(id: Id, message: String) -> Finding {
    Finding::new(id, Severity::Error, message)
}

/// A file, and the bytes that it begins with.
fn beginning(file: &File, what: impl Into<String>) -> Evidence {
    match file.content.prefix().len().min(SHOWN) as u64 {
        0 => Evidence { offset: Some(0), ..of_file(file, what) },
        shown => in_file(file, what, 0..shown),
    }
}

/// What the config says, which is verified whenever it can be read at all.
fn of_config(contents: &Contents) -> Evidence {
    let run = &contents.config.config;
    let what = json!({
        "Entrypoint": run.entrypoint, "Cmd": run.cmd, "WorkingDir": run.working_dir,
        "PATH": entrypoint::search_path(&contents.config),
    });
    let digest = Some(contents.manifest.config.digest.clone());
    Evidence { what: format!("the config: {what}"), digest, verified: true, ..Evidence::default() }
}

/// A file that was found and that the kernel does not load.
fn of_step(step: &Step) -> Option<Finding> {
    let path = &step.file.asked;
    let file = &step.file;
    if !file.is_executable() {
        let message = format!("{path} is not executable: nobody has the right to ({:04o})", file.mode & 0o7777);
        let remedy = Remedy::new("give it the right in the image: in the Dockerfile")
            .command(format!("COPY --chmod=755 {}", json!([name(path), path])));
        return Some(
            error(Id::NotExecutable, message).shown_by(of_file(file, "the file's permissions")).mended_by(remedy),
        );
    }
    match &step.what {
        What::Elf(_) => None,
        What::Empty => {
            let message = format!("{path} is empty: starting it ends in \"exec format error\"");
            Some(
                error(Id::NotExecutable, message)
                    .shown_by(of_file(file, "a file of 0 bytes"))
                    .mended_by(Remedy::new("build the image again: the build step that makes this file made nothing")),
            )
        }
        What::Damaged(why) => {
            let message = format!("{path} is damaged: {why}");
            Some(
                error(Id::NotExecutable, message)
                    .shown_by(beginning(file, "the file begins with"))
                    .mended_by(Remedy::new("build the image again: the program in it is cut off or overwritten")),
            )
        }
        What::Foreign { is_text: true } => {
            let message = format!(
                "{path} is text without \"#!\": the kernel refuses it with \"exec format error\", although a shell would run it"
            );
            let remedy = Remedy::new("make \"#!/bin/sh\" its first line")
                .command(format!("sed -i '1i #!/bin/sh' {}", shell_word(name(path))));
            Some(error(Id::Script, message).shown_by(beginning(file, "the file begins with")).mended_by(remedy))
        }
        What::Foreign { is_text: false } => {
            let message = format!("{path} is no program for Linux: the kernel refuses it with \"exec format error\"");
            Some(
                error(Id::NotExecutable, message)
                    .shown_by(beginning(file, "the file begins with"))
                    .mended_by(Remedy::new("build the program for Linux, and copy the result of that build")),
            )
        }
        What::Script { interpreter, cut, argument } => of_script(step, interpreter, *cut, argument.as_deref()),
    }
}

fn of_script(step: &Step, interpreter: &str, cut: bool, argument: Option<&str>) -> Option<Finding> {
    let path = &step.file.asked;
    let line_end = || {
        Remedy::new("the file has the line ends of Windows; save it with those of Unix, and keep them in git")
            .command(format!("sed -i 's/\\r$//' {}", shell_word(name(path))))
            .command(format!("echo {} >> .gitattributes", shell_word(&format!("{} text eol=lf", name(path)))))
    };
    let (message, remedy) = if interpreter.is_empty() {
        let remedy = Remedy::new("name one").command(format!("sed -i '1s|.*|#!/bin/sh|' {}", shell_word(name(path))));
        (format!("the first line of {path} names no interpreter"), remedy)
    } else if cut {
        let remedy =
            Remedy::new("shorten the path, or start the interpreter from ENTRYPOINT with the script behind it");
        (format!("the interpreter in the first line of {path} is longer than Linux reads (256 bytes)"), remedy)
    } else if interpreter.ends_with('\r') || argument.is_some_and(|argument| argument.ends_with('\r')) {
        let message = format!(
            "the first line of {path} ends in a carriage return, which Linux takes for a part of the name: \"no such file or directory\""
        );
        (message, line_end())
    } else {
        return None;
    };
    Some(error(Id::Script, message).shown_by(beginning(&step.file, "the file begins with")).mended_by(remedy))
}

/// What was looked for last and could not be opened.
fn of_end(stopped: &Stopped, steps: &[Step], contents: &Contents) -> Option<Finding> {
    let script = steps.last();
    let crlf = |step: &Step| matches!(&step.what, What::Script { interpreter, .. } if interpreter.ends_with('\r'));
    match stopped {
        // That it ends in a carriage return is said already.
        _ if script.is_some_and(crlf) => None,
        Stopped::NotRead { .. } => None,
        Stopped::NoProgram => {
            let message = "the image names no program: it runs only with a command given to it".to_owned();
            Some(Finding::new(Id::EntryNotFound, Severity::Note, message).shown_by(of_config(contents)))
        }
        Stopped::TooDeep => {
            let message = "scripts whose interpreters are scripts, deeper than Linux follows (5)".to_owned();
            Some(error(Id::Script, message).shown_by(of_config(contents)))
        }
        Stopped::Loop { asked } => {
            let message = format!("{asked} is a symbolic link that leads to itself");
            Some(error(Id::EntryNotFound, message).shown_by(of_config(contents)))
        }
        Stopped::Other { asked, kind } => {
            let message = format!("the image starts {asked}, which is {kind}");
            Some(error(Id::NotExecutable, message).shown_by(of_config(contents)))
        }
        Stopped::Absent { asked } => Some(match script {
            Some(step) => missing_interpreter(step, asked),
            None => missing_program(asked, contents),
        }),
    }
}

fn missing_interpreter(step: &Step, asked: &[String]) -> Finding {
    let (path, interpreter) = (&step.file.asked, asked.join(", "));
    let message =
        format!("{path} is a script for {interpreter}, which is not in the image: \"no such file or directory\"");
    let remedy = match name(&interpreter) {
        "bash" => Remedy::new("install bash in the image, or write the script for /bin/sh")
            .command("RUN apk add --no-cache bash".to_owned()),
        _ => Remedy::new(format!("install {interpreter} in the image, or correct the first line of {path}")),
    };
    error(Id::Script, message).shown_by(beginning(&step.file, "the file begins with")).mended_by(remedy)
}

fn missing_program(asked: &[String], contents: &Contents) -> Finding {
    let argv = contents.config.argv();
    let program = argv.first().map_or("", String::as_str);
    let message = if asked.len() > 1 {
        format!("the image starts {program:?}, which is in no directory of its PATH ({} were looked into)", asked.len())
    } else if program.contains([' ', '\t']) {
        format!(
            "the image starts {program:?}, and no layer has a file of that name: a whole command line was given as one word"
        )
    } else {
        format!("the image starts {program:?}, and no layer has it")
    };
    let remedy = if program.contains([' ', '\t']) {
        let words = serde_json::json!(program.split_whitespace().collect::<Vec<_>>());
        Remedy::new("split it into words").command(format!("ENTRYPOINT {words}"))
    } else {
        Remedy::new(
            "check the destination of COPY, and ENTRYPOINT or CMD, in the Dockerfile; a later layer may have removed the file",
        )
    };
    error(Id::EntryNotFound, message).shown_by(of_config(contents)).mended_by(remedy)
}

/// The working directory is something else.
fn of_directory(kind: &str, contents: &Contents) -> Finding {
    let directory = contents.config.config.working_dir.as_deref().unwrap_or_default();
    let directory = one_line(directory, NAMES);
    let message = format!("the image starts in {directory}, which is {kind}: starting it ends in \"not a directory\"");
    error(Id::NotExecutable, message)
        .shown_by(of_config(contents))
        .mended_by(Remedy::new("correct WORKDIR in the Dockerfile, or what COPY puts in its place"))
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests;
