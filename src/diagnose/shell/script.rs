//! Entrypoint scripts: what they put in their own place at their end, which is nearly always the
//! command of the image: `exec "$@"`.
//!
//! No shell is written here. Of a script only lines are looked at, and only few shapes of them are
//! believed: the script's last line is the one that is always reached, and so is the last line of a
//! function that the script ends with. Everything else may or may not happen.

use super::{Handed, is_plain};
use crate::core::text;
use crate::diagnose::contents::By;

/// All arguments of the script, as people write it.
const ALL: [&str; 4] = ["\"$@\"", "$@", "\"${@}\"", "${@}"];
/// Bytes of a line in a message.
const SHOWN: usize = 80;
/// What speaks of single arguments: the script may take the first of them for a name of its own.
const SINGLE: [&str; 7] = ["$1", "${1", "$*", "${*", "set --", "shift", "getopts"];

/// The program that a script with these arguments is going to be.
pub(super) fn hands_on(script: &str, arguments: &[String]) -> Option<Handed> {
    let lines = lines(script);
    let found = lines.iter().enumerate().filter_map(|(at, line)| Some((at, replacing(line, arguments)?)));
    let is_last = |at: usize| is_reached(&lines, at);
    let (at, (through, argv)) = found.max_by_key(|(at, _)| (is_last(*at), *at))?;
    // What is not indented is done before that, whatever the arguments.
    let before = lines[..at].iter().map(String::as_str).filter(|line| !line.starts_with([' ', '\t']));
    if before.clone().any(|line| ends_it(line) || has_word(line, "shift") || sets_others(line)) {
        return None;
    }
    let sets = before.clone().any(|line| line.starts_with("set -- "));
    let program = argv.first()?;
    let elsewhere = if program.contains('/') {
        !program.starts_with('/') && lines.iter().any(|line| has_word(line.trim_start(), "cd"))
    } else {
        before.clone().any(reads_another) || lines.iter().any(|line| sets_path(line))
    };
    let speaks = |line: &String| SINGLE.iter().any(|single| line.contains(single));
    let renamed = elsewhere || lines.iter().any(|line| reads_another(line.trim_start()) || speaks(line));
    Some(Handed { by: By::Shell, through: Some(through), certain: is_last(at) && !sets && !elsewhere, argv, renamed })
}

/// The lines that do something, each with those that continue it. What is written into other files
/// by them is left out.
fn lines(script: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let (mut document, mut is_continued) = (None::<String>, false);
    for line in script.lines() {
        if let Some(end) = &document {
            if line.trim_start_matches('\t') == end {
                document = None;
            }
            continue;
        }
        let (text, continues) = match line.strip_suffix('\\') {
            Some(text) => (text, true),
            None => (line, false),
        };
        match lines.last_mut() {
            Some(last) if is_continued => last.push_str(text),
            _ if text.trim().is_empty() || text.trim_start().starts_with('#') => {}
            _ => lines.push(text.trim_end().to_owned()),
        }
        is_continued = continues;
        document = here_document(line);
    }
    lines
}

/// What ends the document that begins behind this line.
fn here_document(line: &str) -> Option<String> {
    let (_, behind) = line.split_once("<<").filter(|(before, _)| !before.trim_start().starts_with('#'))?;
    let word = behind.trim_start_matches('-').trim_start();
    let word = word.split([' ', '\t', ';', '|', '>', ')']).next()?.trim_matches(['"', '\'', '\\']);
    let is_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
    (!word.is_empty() && word.chars().all(is_name) && !word.starts_with(|char: char| char.is_ascii_digit()))
        .then(|| word.to_owned())
}

/// `exec` with all arguments of the script in this line: the words as they stand, and what they
/// come to.
fn replacing(line: &str, arguments: &[String]) -> Option<(String, Vec<String>)> {
    let begins = |at: usize| line[..at].chars().next_back().is_none_or(|char| " \t;&|(){".contains(char));
    let (at, _) = line.match_indices("exec ").filter(|(at, _)| begins(*at)).last()?;
    let command = line[at..].split(';').next()?.trim();
    let words: Vec<&str> = command.split_whitespace().skip(1).skip_while(|word| *word == "--").collect();
    let all = words.iter().position(|word| ALL.contains(word))?;
    let unquoted = |word: &&str| word.trim_matches('"').to_owned();
    let mut argv: Vec<String> = words[..all].iter().map(unquoted).collect();
    argv.extend_from_slice(arguments);
    let is_program = argv.first().is_some_and(|program| is_plain(program));
    is_program.then(|| (text::one_line(command, SHOWN), argv))
}

/// Nothing but a failure before it keeps the script from this line: it is the last one, or the last of
/// a function that is called with all arguments by the last one.
fn is_reached(lines: &[String], at: usize) -> bool {
    let alone = |line: &str| line.starts_with("exec ") && !line.contains(['|', '&', ';']);
    if !alone(lines[at].trim_start()) {
        return false;
    }
    match lines.get(at + 1).map(String::as_str) {
        None => true,
        Some("}") => {
            let head = lines[..at].iter().rev().find(|line| !line.starts_with([' ', '\t']));
            head.and_then(|line| function(line)).is_some_and(|name| is_called_at_the_end(lines, name))
        }
        Some(_) => false,
    }
}

/// `name() {`
fn function(line: &str) -> Option<&str> {
    let name = line.trim_end_matches(['{', ' ']).trim_start_matches("function ");
    let name = name.trim_end_matches("()").trim_end();
    (line.ends_with('{') && is_plain(name)).then_some(name)
}

/// At the very end, or where the end asks first whether the script is only read by another one.
fn is_called_at_the_end(lines: &[String], name: &str) -> bool {
    let is_call = |line: &String| {
        let rest = line.trim_start().strip_prefix(name).unwrap_or_default();
        rest.starts_with(' ') && ALL.contains(&rest.trim())
    };
    match lines {
        [.., question, call, end] if end == "fi" => {
            is_call(call) && (question.contains("sourced") || question.contains("BASH_SOURCE"))
        }
        [.., call] => is_call(call) && !call.starts_with([' ', '\t']),
        [] => false,
    }
}

/// The script ends here, or becomes another program.
fn ends_it(line: &str) -> bool {
    // With nothing but redirections, exec goes on with the script.
    let becomes = |rest: &str| {
        let word = rest.trim_start().trim_start_matches(|char: char| char.is_ascii_digit());
        !word.starts_with(['>', '<', '&', '{'])
    };
    has_word(line, "exit") || line.strip_prefix("exec ").is_some_and(becomes)
}

/// Other arguments than the script was given.
fn sets_others(line: &str) -> bool {
    line.starts_with("set -- ") && !ALL.iter().any(|all| line.ends_with(all))
}

/// What another file or text says is done here as well: an environment of Python sets another PATH so.
fn reads_another(line: &str) -> bool {
    [".", "source", "eval"].iter().any(|word| has_word(line, word))
}

fn sets_path(line: &str) -> bool {
    line.match_indices("PATH=")
        .any(|(at, _)| !line[..at].ends_with(|char: char| char.is_ascii_alphanumeric() || char == '_'))
}

/// It begins with this word.
fn has_word(line: &str, word: &str) -> bool {
    line.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', ';']))
}

#[cfg(test)]
mod tests;
