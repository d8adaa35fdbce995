//! `lighterman setup`: what is to be done on this node, done or only shown.

use std::fmt::Write;
use std::path::PathBuf;

use clap::{Args, CommandFactory};
use serde_json::{Value, json};

use super::args::Arguments;
use super::context::Context;
use super::{Failure, report};
use crate::config::FileConfig;
use crate::node::setup::{self, Facts, LEDGER, Outcome, Root, Step, Steps, Undone, Wanted};
use crate::node::{MIRROR, PROGRAM};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  lighterman setup --dry-run         what would be done, and why
  lighterman setup                   do it; files that people wrote are edited by one key or left
  lighterman setup --undo            put every file back as it was
  lighterman setup --root /mnt/image prepare another system's image")]
pub(super) struct SetupArgs {
    /// Show what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Take back what was done
    #[arg(long, conflicts_with = "differ")]
    undo: bool,
    /// Have containerd's own pulls unpacked by the service as well; they fail while it is down
    #[arg(long)]
    differ: bool,
    /// The root folder of the system to set up
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

/// Runs `lighterman setup`.
pub(super) fn run(context: &Context, args: &SetupArgs) -> Result<(), Failure> {
    let root = Root::open(&args.root)?;
    let json = context.global.json;
    if args.undo {
        let undone = if args.dry_run { setup::plan_undo(&root)? } else { setup::undo(&root)? };
        let text = if json { format!("{:#}", undone_json(&undone)) } else { undone_text(&undone, args.dry_run) };
        report::result(&text);
        return Ok(());
    }
    let wanted = Wanted { differ: args.differ, ..wanted(&context.file) };
    let steps = setup::plan(&Facts::read(&root), &wanted);
    if !args.dry_run {
        setup::carry_out(&root, &steps)?;
    }
    let text = if json { format!("{:#}", steps_json(&steps, args.dry_run)) } else { steps_text(&steps, args.dry_run) };
    report::result(&text);
    Ok(())
}

/// What runtimes are to be connected to, by the configuration of the service.
pub(super) fn wanted(file: &FileConfig) -> Wanted {
    let socket = file.serve_listen.clone().or(FileConfig::defaults().serve_listen).unwrap_or_default();
    // Without a setting, the socket unit says where the mirror is.
    let mirror = file.mirror_listen.as_ref().and_then(|list| list.first()).map(ToString::to_string);
    Wanted {
        mirror: mirror.unwrap_or_else(|| MIRROR.into()),
        socket: socket.display().to_string(),
        program: PROGRAM.into(),
        verifier: Arguments::command().find_subcommand("verify-image").is_some(),
        differ: false,
    }
}

fn steps_text(steps: &Steps, dry_run: bool) -> String {
    if steps.steps().is_empty() {
        return "everything that lighterman knows on this node is connected".into();
    }
    let mut out = String::new();
    for step in steps.steps() {
        // Writing to a String cannot fail.
        let _ = match step {
            Step::Write { path, before, after, why, .. } => {
                let verb = if dry_run { "would write" } else { "wrote" };
                let changes = changes(before.as_deref().unwrap_or_default(), after);
                writeln!(out, "{verb} {path}\n  {why}\n{changes}")
            }
            Step::Advise { path, why, paste, .. } => {
                writeln!(out, "yours to change: {path}\n  {why}\n  what belongs into it:\n{}", indented("    ", paste))
            }
        };
    }
    if !steps.commands().is_empty() {
        let _ = writeln!(out, "then run:\n{}", indented("  ", &steps.commands().join("\n")));
    }
    out.truncate(out.trim_end().len());
    out
}

fn steps_json(steps: &Steps, dry_run: bool) -> Value {
    let list = steps.steps().iter().map(|step| match step {
        Step::Write { topic, path, after, why, .. } => {
            json!({"topic": topic.name(), "action": "write", "path": path, "why": why, "content": after, "done": !dry_run})
        }
        Step::Advise { topic, path, why, paste } => {
            json!({"topic": topic.name(), "action": "advise", "path": path, "why": why, "paste": paste, "done": false})
        }
    });
    json!({"steps": list.collect::<Vec<_>>(), "commands": steps.commands()})
}

fn undone_text(undone: &[Outcome], dry_run: bool) -> String {
    if undone.is_empty() {
        return "there is nothing to take back".into();
    }
    let will = if dry_run { "would be " } else { "" };
    let line = |Outcome { path, undone, .. }: &Outcome| match undone {
        Undone::Nothing => format!("{path}: nothing of lighterman's is in it"),
        Undone::Restored { .. } => format!("{path}: {will}restored to what it was"),
        Undone::TakenOut { .. } => format!("{path}: {will}changed back; what others changed since stays"),
        Undone::Removed => format!("{path}: {will}removed"),
        Undone::Left { text } => {
            let how = if text.is_some() { "left in part" } else { "left" };
            format!("{path}: {how}, since somebody changed what lighterman wrote; {LEDGER} has what it was")
        }
    };
    let mut out = undone.iter().map(line).collect::<Vec<_>>().join("\n");
    let commands = commands(undone);
    if !commands.is_empty() {
        out += &format!("\nthen run:\n{}", indented("  ", &commands.join("\n")));
    }
    out.truncate(out.trim_end().len());
    out
}

fn undone_json(undone: &[Outcome]) -> Value {
    let name = |what: &Undone| match what {
        Undone::Nothing => "nothing",
        Undone::Restored { .. } => "restored",
        Undone::TakenOut { .. } => "taken-out",
        Undone::Removed => "removed",
        Undone::Left { .. } => "left",
    };
    let files = undone.iter().map(|outcome| json!({"path": outcome.path, "outcome": name(&outcome.undone)}));
    json!({"files": files.collect::<Vec<_>>(), "commands": commands(undone)})
}

/// What makes others notice, each once.
fn commands(undone: &[Outcome]) -> Vec<&str> {
    let mut commands: Vec<&str> = undone.iter().filter_map(|outcome| outcome.then.as_deref()).collect();
    commands.sort_unstable();
    commands.dedup();
    commands
}

/// The lines between what two texts begin and end with, as a diff shows them.
fn changes(before: &str, after: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    let start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let most = old.len().min(new.len()) - start;
    let end = old.iter().rev().zip(new.iter().rev()).take(most).take_while(|(a, b)| a == b).count();
    let lines =
        |sign: &str, lines: &[&str]| lines.iter().map(|line| format!("    {sign} {line}\n")).collect::<String>();
    lines("-", &old[start..old.len() - end]) + &lines("+", &new[start..new.len() - end])
}

fn indented(by: &str, text: &str) -> String {
    text.lines().map(|line| format!("{by}{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::changes;

    #[test]
    fn only_lines_that_differ_are_shown() {
        let cases = [
            ("a\nb\n", "a\nx\nb\n", "    + x\n"),
            ("a\nb\n", "a\nc\n", "    - b\n    + c\n"),
            ("", "a\nb\n", "    + a\n    + b\n"),
            ("a\na\n", "a\na\na\n", "    + a\n"),
            ("a\n", "a\n", ""),
        ];
        for (before, after, expected) in cases {
            assert_eq!(changes(before, after), expected, "{before:?} {after:?}");
        }
    }
}
