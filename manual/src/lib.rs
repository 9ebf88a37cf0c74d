//! Man pages: names, options and descriptions are those of `--help`, exit codes those of the README; the rest of a page,
//! which no help has room for, is here.

mod examples;
mod page;
mod surroundings;
mod synopsis;

use std::fs;
use std::io;
use std::path::Path;

use clap::Command;

/// One page for envol and one for each verb, into `dir`, which is made. `date` is what stands at their foot.
///
/// # Errors
/// A file cannot be written.
pub fn write_pages(dir: &Path, date: &str) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    for command in commands() {
        fs::write(dir.join(format!("{}.1", name(&command))), page::render(&command, date)?)?;
    }
    Ok(())
}

/// envol and all its verbs, those of `kms` and the like included; each knows its full name.
#[must_use]
pub fn commands() -> Vec<Command> {
    let mut envol = envol::cli::command().disable_help_subcommand(true);
    envol.build();
    let mut found = vec![envol];
    let mut at = 0;
    while let Some(command) = found.get(at) {
        let verbs: Vec<Command> = command.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned().collect();
        found.extend(verbs);
        at += 1;
    }
    found
}

/// As in `man envol-snapshot-create`.
#[must_use]
pub fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

/// As it is typed: `envol snapshot create`.
fn typed(command: &Command) -> &str {
    command.get_bin_name().unwrap_or_else(|| command.get_name())
}

/// The lines to type that the pages show.
pub fn example_lines() -> impl Iterator<Item = &'static str> {
    examples::EXAMPLES.iter().map(|(_, line)| *line)
}
