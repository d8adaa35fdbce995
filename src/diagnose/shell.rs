//! What a program starts in its own place: `sh -c command`, `env program`, `tini -- program`, and
//! scripts that end in `exec "$@"` ([`script`]).
//!
//! A shell may do anything, so only plain words are followed, and only what is certain to be
//! started is told as such.

mod script;

use std::collections::VecDeque;

use super::contents::{By, Chain, Step, What};
use super::start::WORDS;
use crate::core::text;

const SHELLS: [&str; 6] = ["sh", "ash", "bash", "dash", "ksh", "zsh"];
/// Small init programs, whose first argument that is no option is the program.
const INITS: [&str; 4] = ["tini", "tini-static", "dumb-init", "catatonit"];
/// Their options that take no argument.
const FLAGS: [&str; 8] = ["-s", "-g", "-w", "-v", "-vv", "-c", "--single-child", "--verbose"];
/// Programs that take a user, and then a program to be started as that user.
const AS_A_USER: [&str; 2] = ["gosu", "su-exec"];
/// Words that a shell does itself (POSIX shell, chapter 2, and what bash and ash add).
const BUILTINS: [&str; 59] = [
    ".", ":", "[", "[[", "alias", "bg", "bind", "break", "builtin", "case", "cd", "command", "continue", "declare",
    "do", "echo", "enable", "eval", "exit", "export", "false", "fg", "for", "function", "getopts", "hash", "if",
    "jobs", "kill", "let", "local", "mapfile", "nohup", "popd", "printf", "pushd", "pwd", "read", "readonly", "return",
    "select", "set", "shift", "shopt", "source", "test", "time", "times", "trap", "true", "type", "typeset", "ulimit",
    "umask", "unalias", "unset", "until", "wait", "while",
];
/// Bytes of a program's name in a message.
const NAMED: usize = 80;

/// A program that another one starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Handed {
    pub(super) by: By,
    /// The words that say so, where they are not the arguments of the one that starts it.
    pub(super) through: Option<String>,
    /// It and its arguments; not empty.
    pub(super) argv: Vec<String>,
    /// It is started, whatever else happens.
    pub(super) certain: bool,
    /// See [`Next::renamed`](super::contents::Next::renamed).
    pub(super) renamed: bool,
}

impl Handed {
    fn by_a_starter(argv: Vec<String>) -> Self {
        Self { by: By::Starter, through: None, argv, certain: true, renamed: false }
    }
}

/// A program in a message.
pub(super) fn named(program: &str) -> String {
    text::one_line(program, NAMED)
}

/// The programs that a program is going to start in its place, where that is said plainly: the
/// next one, and where that is the shell of a script what the script starts in turn.
pub(super) fn handed_on(argv: &[String], chain: &Chain) -> VecDeque<Handed> {
    let Some((program, arguments)) = argv.split_first().filter(|_| chain.starts()) else { return VecDeque::new() };
    match chain.steps.first() {
        Some(Step { file, what: What::Script { interpreter, argument, .. } }) => {
            let mut found = VecDeque::new();
            let mut shell = base(interpreter).to_owned();
            if shell == "env" {
                let words = argument.iter().flat_map(|argument| argument.split_whitespace());
                let Some(mut words) = env(words) else { return found };
                shell = base(&words[0]).to_owned();
                words.push(file.asked.clone());
                words.extend_from_slice(arguments);
                found.push_back(Handed::by_a_starter(words));
            }
            if SHELLS.contains(&shell.as_str()) {
                found.extend(script::hands_on(&String::from_utf8_lossy(file.content.prefix()), arguments));
            }
            found
        }
        Some(Step { what: What::Elf(_), .. }) => started_by(program, arguments).into_iter().collect(),
        _ => VecDeque::new(),
    }
}

/// By a binary of this name.
fn started_by(program: &str, arguments: &[String]) -> Option<Handed> {
    let words = arguments.iter().map(String::as_str);
    match base(program) {
        "env" => env(words).map(Handed::by_a_starter),
        init if INITS.contains(&init) => inits_program(words).map(Handed::by_a_starter),
        user if AS_A_USER.contains(&user) => users_program(arguments).map(Handed::by_a_starter),
        shell if SHELLS.contains(&shell) => {
            // What a login or interactive shell starts may be a function, or along another PATH.
            if words.clone().take_while(|word| word.starts_with('-')).any(|word| word.contains(['l', 'i'])) {
                return None;
            }
            let mut words = words.skip_while(|word| word.starts_with('-') && !is_command_flag(word));
            words.next().filter(|word| is_command_flag(word))?;
            command(words.next()?)
        }
        _ => None,
    }
}

/// The first argument that is no option; behind options that may take another one, what follows `--`.
fn inits_program<'a>(arguments: impl Iterator<Item = &'a str>) -> Option<Vec<String>> {
    let mut words: Vec<&str> = arguments.skip_while(|word| FLAGS.contains(word)).collect();
    if words.first()?.starts_with('-') {
        let end = words.iter().position(|word| *word == "--")?;
        words.drain(..=end);
    }
    program_of(words)
}

/// `gosu user program`.
fn users_program(arguments: &[String]) -> Option<Vec<String>> {
    let (user, rest) = arguments.split_first()?;
    if user.starts_with('-') {
        return None;
    }
    program_of(rest.iter().map(String::as_str).collect())
}

fn program_of(words: Vec<&str>) -> Option<Vec<String>> {
    let is_program = words.first().is_some_and(|word| is_plain(word));
    is_program.then(|| words.into_iter().map(String::from).collect())
}

/// `-c`, and the same together with others, as in `-ec`.
fn is_command_flag(word: &str) -> bool {
    word.strip_prefix('-').is_some_and(|flags| flags.ends_with('c') && flags.chars().all(|flag| flag.is_alphabetic()))
}

/// env(1): options and assignments come first. `-S` splits its text, as the kernel does not.
fn env<'a>(words: impl Iterator<Item = &'a str>) -> Option<Vec<String>> {
    let mut words: Vec<&str> = words
        .skip_while(|word| matches!(*word, "-S" | "-i" | "-" | "--") || (is_assignment(word) && !is_path(word)))
        .collect();
    if let Some(first) = words.first_mut() {
        *first = first.trim_start_matches("-S");
    }
    // Where env is given another PATH, the program may be another one.
    program_of(words)
}

/// The first word of a shell command, where it is a program's name without any doubt. It is certain
/// that it is started where nothing can come before it.
fn command(text: &str) -> Option<Handed> {
    let mut words = text.split_whitespace().peekable();
    let mut certain = false;
    while let Some(word) = words.next_if(|word| *word == "exec" || (is_assignment(word) && !is_path(word))) {
        certain |= word == "exec";
    }
    let mut argv: Vec<String> = words.take(WORDS).map(String::from).collect();
    let first = argv.first_mut()?;
    if let Some(alone) = first.strip_suffix(';') {
        *first = alone.to_owned();
    }
    let is_program = is_plain(first) && !BUILTINS.contains(&first.as_str());
    is_program.then_some(Handed { by: By::Shell, through: None, argv, certain, renamed: false })
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, value)| {
        let is_name = |name: &str| name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_');
        !name.is_empty() && is_name(name) && !value.contains(['"', '\'', '`', '$', '('])
    })
}

fn is_path(word: &str) -> bool {
    word.starts_with("PATH=")
}

/// Nothing in it that a shell would replace.
fn is_plain(word: &str) -> bool {
    let plain = |char: char| char.is_ascii_alphanumeric() || "/._+-".contains(char);
    !word.is_empty() && !word.starts_with('-') && word.chars().all(plain)
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(argv: &[&str]) -> Option<(String, bool)> {
        let words: Vec<String> = argv[1..].iter().map(|word| (*word).to_owned()).collect();
        started_by(argv[0], &words).map(|handed| (handed.argv[0].clone(), handed.certain))
    }

    #[test]
    fn plain_commands_are_followed() {
        for (argv, program, certain) in [
            (vec!["/bin/sh", "-c", "exec nginx -g 'daemon off;'"], "nginx", true),
            (vec!["/bin/sh", "-c", "TZ=UTC exec /app"], "/app", true),
            (vec!["sh", "-ec", "FOO=1 BAR=x /app/run --fast"], "/app/run", false),
            (vec!["/bin/sh", "-c", "httpd; true"], "httpd", false),
            (vec!["tini", "-e", "143", "--", "java"], "java", true),
            (vec!["tini", "-g", "java", "-jar", "--", "x"], "java", true),
            (vec!["dumb-init", "--single-child", "/app"], "/app", true),
            (vec!["/usr/bin/env", "-i", "A=b", "node", "x.js"], "node", true),
            (vec!["env", "-S", "node", "PATH=x"], "node", true),
            (vec!["/tini", "-g", "--", "/app"], "/app", true),
            (vec!["catatonit", "app"], "app", true),
            (vec!["gosu", "postgres:postgres", "/bin/postgres", "-D", "x"], "/bin/postgres", true),
            (vec!["/sbin/su-exec", "1000", "app"], "app", true),
        ] {
            assert_eq!(of(&argv), Some((program.to_owned(), certain)), "{argv:?}");
        }
    }

    #[test]
    fn what_a_shell_does_itself_or_replaces_is_not() {
        for command in [
            "cd /app && ./run",
            "$HOME/run",
            "\"quoted\"",
            "(sub)",
            "if true; then :; fi",
            "",
            "A=$(x) y",
            "PATH=/x app",
        ] {
            assert_eq!(of(&["sh", "-c", command]), None, "{command}");
        }
        for other in [
            vec!["bash", "-lc", "nvm run"],
            vec!["tini", "-e", "143"],
            vec!["tini", "-s"],
            vec!["env", "PATH=/opt/bin", "app"],
            vec!["env", "-u", "HOME", "app"],
            vec!["gosu", "--version"],
            vec!["gosu", "nobody"],
            vec!["gosu", "nobody", "$0"],
            vec!["sh", "-c", "until nc -z db 5432; do :; done"],
            vec!["sh"],
            vec!["sh", "script.sh"],
            vec!["/app", "-c", "x"],
        ] {
            assert_eq!(of(&other), None, "{other:?}");
        }
    }
}
