//! The line that says what a verb takes: options with their values, what is required, and what excludes each other.

use clap::{Arg, Command};
use clap_mangen::roff::{Inline, bold, italic, roman};

pub(crate) fn line(command: &Command) -> Vec<Inline> {
    let mut line = vec![bold(super::typed(command))];
    let one_of: Vec<Vec<&Arg>> = command
        .get_groups()
        .filter(|group| group.is_required_set())
        .map(|group| command.get_arguments().filter(|arg| group.get_args().any(|id| id == arg.get_id())).collect())
        .collect();
    for choice in &one_of {
        line.push(roman(" {"));
        for (at, arg) in choice.iter().enumerate() {
            line.push(roman(if at == 0 { "" } else { " | " }));
            line.extend(option(arg));
        }
        line.push(roman("}"));
    }
    let chosen = |arg: &Arg| one_of.iter().flatten().any(|other| other.get_id() == arg.get_id());
    // Those of every verb have a place of their own, on envol(1) and in the options of each page.
    let own = |arg: &&Arg| !arg.is_hide_set() && !arg.is_global_set() && !is_help(arg) && !chosen(arg);
    let (positionals, mut options): (Vec<&Arg>, Vec<&Arg>) =
        command.get_arguments().filter(own).partition(|arg| arg.is_positional());
    options.sort_by_key(|arg| !arg.is_required_set());
    for arg in options.into_iter().chain(positionals) {
        let (before, after) = if arg.is_required_set() { (" ", "") } else { (" [", "]") };
        line.push(roman(before));
        line.extend(option(arg));
        line.push(roman(after));
    }
    if command.has_subcommands() {
        line.extend([roman(" "), italic("COMMAND"), roman(" ...")]);
    }
    line
}

fn option(arg: &Arg) -> Vec<Inline> {
    let mut parts = Vec::new();
    if let Some(long) = arg.get_long() {
        parts.push(bold(format!("--{long}")));
    }
    if arg.get_num_args().is_some_and(|range| range.takes_values()) {
        let names = arg.get_value_names().unwrap_or_default().join(" ");
        parts.push(roman(if parts.is_empty() { "" } else { " " }));
        parts.push(italic(names));
    }
    parts
}

pub(crate) fn is_help(arg: &Arg) -> bool {
    ["help", "version"].contains(&arg.get_id().as_str())
}
