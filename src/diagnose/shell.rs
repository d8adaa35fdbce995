//! What a first program hands on to: `sh -c command`, `env program`, `tini -- program`.
//!
//! Best effort: a shell may do anything, so only a plain word at the start of the command is
//! followed, and what is found is never more than a warning.

use crate::core::manifest::ImageConfig;

use super::DiagnoseError;
use super::contents::{Shell, Step, What};
use super::entrypoint;
use super::rootfs::{Look, RootFs};
use super::start::classify;

const SHELLS: [&str; 6] = ["sh", "ash", "bash", "dash", "ksh", "zsh"];
/// Small init programs, whose first argument that is no option is the program.
const INITS: [&str; 4] = ["tini", "tini-static", "dumb-init", "catatonit"];
/// Words that a shell does itself (POSIX shell, chapter 2, and what bash and ash add).
const BUILTINS: [&str; 59] = [
    ".", ":", "[", "[[", "alias", "bg", "bind", "break", "builtin", "case", "cd", "command", "continue", "declare",
    "do", "echo", "enable", "eval", "exit", "export", "false", "fg", "for", "function", "getopts", "hash", "if",
    "jobs", "kill", "let", "local", "mapfile", "nohup", "popd", "printf", "pushd", "pwd", "read", "readonly", "return",
    "select", "set", "shift", "shopt", "source", "test", "time", "times", "trap", "true", "type", "typeset", "ulimit",
    "umask", "unalias", "unset", "until", "wait", "while",
];

/// The program that the first one is going to start, where its arguments say so plainly.
pub(super) fn handed_on(argv: &[String], steps: &[Step]) -> Option<String> {
    if let Some(Step { what: What::Script { interpreter, argument, .. }, .. }) = steps.first() {
        return (base(interpreter) == "env").then(|| env(argument.as_deref()?.split_whitespace()))?;
    }
    let (program, arguments) = argv.split_first()?;
    let arguments = arguments.iter().map(String::as_str);
    match base(program) {
        "env" => env(arguments),
        init if INITS.contains(&init) => inits_program(arguments),
        shell if SHELLS.contains(&shell) => {
            // What a login or interactive shell starts may be a function, or along another PATH.
            if arguments.clone().take_while(|word| word.starts_with('-')).any(|word| word.contains(['l', 'i'])) {
                return None;
            }
            let mut arguments = arguments.skip_while(|word| word.starts_with('-') && !is_command_flag(word));
            arguments.next().filter(|word| is_command_flag(word))?;
            command(arguments.next()?)
        }
        _ => None,
    }
}

/// What follows `--`, or the first argument, where nothing is before it that may take another one.
fn inits_program<'a>(arguments: impl Iterator<Item = &'a str> + Clone) -> Option<String> {
    let mut behind = arguments.clone().skip_while(|word| *word != "--").skip(1);
    let first = behind.next().or_else(|| arguments.clone().next().filter(|word| !word.starts_with('-')));
    first.filter(|word| is_plain(word)).map(String::from)
}

/// `-c`, and the same together with others, as in `-ec`.
fn is_command_flag(word: &str) -> bool {
    word.strip_prefix('-').is_some_and(|flags| flags.ends_with('c') && flags.chars().all(|flag| flag.is_alphabetic()))
}

/// env(1): options and assignments come first. `-S` splits its text, as the kernel does not.
fn env<'a>(words: impl Iterator<Item = &'a str>) -> Option<String> {
    let words: Vec<&str> = words.collect();
    // Along another PATH than the image's.
    if words.iter().any(|word| word.starts_with("PATH=")) {
        return None;
    }
    let mut words =
        words.into_iter().skip_while(|word| matches!(*word, "-S" | "-i" | "-" | "--") || is_assignment(word));
    words.next().map(|word| word.trim_start_matches("-S")).filter(|word| is_plain(word)).map(String::from)
}

/// The first word of a shell command, where it is a program's name without any doubt.
fn command(text: &str) -> Option<String> {
    let mut words = text.split_whitespace().skip_while(|word| *word == "exec" || is_assignment(word));
    let word = words.next()?;
    let word = word.strip_suffix(';').unwrap_or(word);
    (is_plain(word) && !BUILTINS.contains(&word)).then(|| word.to_owned())
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, value)| {
        let is_name = |name: &str| name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_');
        !name.is_empty() && is_name(name) && !value.contains(['"', '\'', '`', '$', '('])
    })
}

/// Nothing in it that a shell would replace.
fn is_plain(word: &str) -> bool {
    let plain = |char: char| char.is_ascii_alphanumeric() || "/._+-".contains(char);
    !word.is_empty() && !word.starts_with('-') && word.chars().all(plain)
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Looks for that program along PATH.
pub(super) fn look(rootfs: &mut dyn RootFs, word: String, config: &ImageConfig) -> Result<Shell, DiagnoseError> {
    let (found, absent) = match rootfs.look(&entrypoint::candidates_of(&word, config))? {
        Look::File(file) => (Some((classify(&file.content), file)), false),
        look => (None, look == Look::Absent),
    };
    Ok(Shell { word, absent, found: found.map(|(what, file)| (file, what)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(argv: &[&str]) -> Option<String> {
        handed_on(&argv.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), &[])
    }

    #[test]
    fn plain_commands_are_followed() {
        assert_eq!(of(&["/bin/sh", "-c", "exec nginx -g 'daemon off;'"]).as_deref(), Some("nginx"));
        assert_eq!(of(&["sh", "-ec", "FOO=1 BAR=x /app/run --fast"]).as_deref(), Some("/app/run"));
        assert_eq!(of(&["tini", "-e", "143", "--", "java"]).as_deref(), Some("java"));
        assert_eq!(of(&["/usr/bin/env", "-i", "A=b", "node", "x.js"]).as_deref(), Some("node"));
        assert_eq!(of(&["/tini", "-g", "--", "/app"]).as_deref(), Some("/app"));
    }

    #[test]
    fn what_a_shell_does_itself_or_replaces_is_not() {
        for command in ["cd /app && ./run", "$HOME/run", "\"quoted\"", "(sub)", "if true; then :; fi", "", "A=$(x) y"] {
            assert_eq!(of(&["sh", "-c", command]), None, "{command}");
        }
        for other in [
            vec!["bash", "-lc", "nvm run"],
            vec!["tini", "-e", "143"],
            vec!["env", "PATH=/opt/bin", "app"],
            vec!["sh", "-c", "until nc -z db 5432; do :; done"],
        ] {
            assert_eq!(of(&other), None, "{other:?}");
        }
        assert_eq!(of(&["sh"]), None);
        assert_eq!(of(&["sh", "script.sh"]), None);
        assert_eq!(of(&["/app", "-c", "x"]), None);
    }
}
