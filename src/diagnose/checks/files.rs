//! What an image starts, held against the files that are in it: the ways in which a program
//! cannot even be loaded, whatever the CPU.

use serde_json::json;

use crate::core::elf::Binary;
use crate::core::text::{one_line, shell_word};
use crate::diagnose::contents::{Contents, Loader, LoaderFound, Shell, Start, Step, Stopped, What};
use crate::diagnose::entrypoint;
use crate::diagnose::evidence::{in_file, of_file};
use crate::diagnose::finding::{Evidence, Finding, Id, Remedy, Severity};
use crate::diagnose::rootfs::File;

/// Bytes of a file that are shown as evidence: the ELF identification and what it begins with.
const SHOWN: usize = 20;
/// Files that one finding names.
const NAMED: usize = 5;
/// Bytes of their names; an image may have any.
const NAMES: usize = 400;

/// The findings of one image.
#[must_use]
pub fn check(contents: &Contents) -> Vec<Finding> {
    let Some(start) = &contents.start else { return Vec::new() };
    let mut findings: Vec<Finding> = start.steps.iter().filter_map(of_step).collect();
    findings.extend(start.stopped.as_ref().and_then(|stopped| of_end(stopped, start, contents)));
    if let (Some(loader), Some((file, binary))) = (&start.loader, contents.binary()) {
        findings.extend(of_loader(loader, file, binary));
    }
    findings.extend(start.no_directory.map(|kind| of_directory(kind, contents)));
    findings.extend(of_others(start, contents));
    findings.extend(start.shell.as_ref().and_then(|shell| of_shell(shell, contents)));
    findings.into_iter().map(|finding| finding.at(&contents.path)).collect()
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
fn of_end(stopped: &Stopped, start: &Start, contents: &Contents) -> Option<Finding> {
    let script = start.steps.last();
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
            None => missing_program(asked, start, contents),
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

fn missing_program(asked: &[String], start: &Start, contents: &Contents) -> Finding {
    let program = start.argv.first().map_or("", String::as_str);
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

fn of_loader(loader: &Loader, file: &File, binary: &Binary) -> Option<Finding> {
    let (program, asked) = (&file.asked, &loader.asked);
    match &loader.found {
        LoaderFound::NotRead(_) => None,
        LoaderFound::Elf(found, its) => {
            let same = (its.machine, its.class, its.endianness) == (binary.machine, binary.class, binary.endianness);
            (!same).then(|| {
                error(Id::LoaderArch, format!("{program} is {binary}, and its loader {asked} is {its}"))
                    .shown_by(beginning(file, format!("{program} begins with")))
                    .shown_by(beginning(found, format!("{asked} begins with")))
                    .mended_by(
                        Remedy::new(
                            "program and base image are for different architectures: build both for one platform",
                        )
                        .command("docker buildx build --platform linux/amd64,linux/arm64 -t IMAGE --push ."),
                    )
            })
        }
        LoaderFound::Foreign(found) => Some(
            error(Id::LoaderMissing, format!("{program} needs the loader {asked}, which is there and no binary"))
                .shown_by(beginning(found, format!("{asked} begins with"))),
        ),
        LoaderFound::Absent { others } => Some(missing_loader(program, asked, others, file)),
    }
}

fn missing_loader(program: &str, asked: &str, others: &[String], file: &File) -> Finding {
    let mut message = format!(
        "{program} needs the loader {asked}, which is not in the image: starting it ends in \"no such file or directory\""
    );
    let (wants_musl, has_musl) = (is_musl(asked), others.iter().any(|other| is_musl(other)));
    let static_build =
        Remedy::new("or link it statically, so that it needs no loader").command("CGO_ENABLED=0 go build");
    let remedy = match (wants_musl, others.is_empty()) {
        (_, true) => {
            Remedy::new("there is no C library in the image: start FROM one that has it, as debian:stable-slim")
        }
        (false, false) if has_musl => {
            message.push_str("; it was built against glibc, and the image has musl (Alpine)");
            Remedy::new("build it inside the same base image, or start FROM one with glibc, as debian:stable-slim")
        }
        (true, false) if !has_musl => {
            message.push_str("; it was built against musl (Alpine), and the image has glibc");
            Remedy::new("build it inside the same base image, or start FROM alpine")
        }
        _ => {
            message.push_str(&format!("; the image has {}", others.join(", ")));
            Remedy::new("program and base image are for different architectures: build both for one platform")
        }
    };
    let evidence = of_file(file, format!("PT_INTERP of {program}: {asked}"));
    error(Id::LoaderMissing, message).shown_by(evidence).mended_by(remedy).mended_by(static_build)
}

fn is_musl(loader: &str) -> bool {
    name(loader).starts_with("ld-musl-")
}

fn of_shell(shell: &Shell, contents: &Contents) -> Option<Finding> {
    let warning = |id, message| Finding::new(id, Severity::Warning, message);
    match &shell.found {
        None if shell.absent => {
            let message = format!("the image starts {:?}, which is not in it", shell.word);
            Some(warning(Id::EntryNotFound, message).shown_by(of_config(contents)))
        }
        None => None,
        Some((file, What::Elf(binary))) => {
            let (_, first) = contents.binary()?;
            (binary.architecture() != first.architecture()).then(|| {
                let message = format!("{} is {binary}, and what starts it is {first}", file.asked);
                warning(Id::OtherBinaryArch, message).shown_by(beginning(file, format!("{} begins with", file.asked)))
            })
        }
        Some((file, what)) => {
            let step = Step { file: file.clone(), what: what.clone() };
            of_step(&step).map(|finding| Finding { severity: Severity::Warning, ..finding })
        }
    }
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

/// Binaries beside the program: of them all in one finding, since they have one cause.
fn of_others(start: &Start, contents: &Contents) -> Option<Finding> {
    let (first, binary) = contents.binary()?;
    let named: Vec<_> = start.others.iter().take(NAMED).collect();
    let names: Vec<&str> = named.iter().map(|(file, _)| file.path.as_str()).collect();
    let names = one_line(&names.join(", "), NAMES);
    let more = match start.others.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let are = if start.others.len() == 1 { "is" } else { "are" };
    let message = format!(
        "{names}{more} {are} not for the architecture of {}, which is {binary}: what starts or loads such a file fails",
        first.asked
    );
    let finding =
        named.iter().fold(Finding::new(Id::OtherBinaryArch, Severity::Warning, message), |finding, (file, its)| {
            finding.shown_by(beginning(file, format!("{} is {its}, and begins with", one_line(&file.path, NAMES))))
        });
    let remedy = Remedy::new("fetch or build these for the image's own platform (ARG TARGETARCH in the Dockerfile)");
    (!named.is_empty()).then(|| finding.mended_by(remedy))
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests;
