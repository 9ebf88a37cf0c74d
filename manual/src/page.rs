//! One page, section by section, in the order of man-pages(7).

use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::{commands, examples, name, surroundings, synopsis, typed};

/// The table of exit codes is the README's: there it is a promise.
const README: &str = include_str!("../../README.md");

pub(crate) fn render(command: &Command, date: &str) -> io::Result<String> {
    let version = env!("CARGO_PKG_VERSION");
    let man = Man::new(command.clone())
        .title(name(command).to_uppercase())
        .date(date)
        .source(format!("envol {version}"))
        .manual("envol manual");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    section("SYNOPSIS", |roff| {
        roff.text(synopsis::line(command));
    })
    .to_writer(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        section("COMMANDS", |roff| verbs(roff, command)).to_writer(&mut page)?;
    }
    section("EXIT STATUS", exit_status).to_writer(&mut page)?;
    section("ENVIRONMENT", |roff| definitions(roff, surroundings::ENVIRONMENT, typed(command))).to_writer(&mut page)?;
    section("FILES", |roff| definitions(roff, surroundings::FILES, typed(command))).to_writer(&mut page)?;
    section("EXAMPLES", |roff| show_examples(roff, command)).to_writer(&mut page)?;
    section("SEE ALSO", |roff| see_also(roff, command)).to_writer(&mut page)?;
    Ok(plain(&String::from_utf8(page).map_err(io::Error::other)?))
}

/// In ASCII, as troff reads it in every locale. An empty line between two breaks, which clap_mangen puts before possible values, is
/// one paragraph space.
fn plain(page: &str) -> String {
    let mut plain = String::with_capacity(page.len());
    for letter in page.replace(".br\n\n.br\n", ".sp\n").chars() {
        if letter.is_ascii() {
            plain.push(letter);
        } else {
            plain += &format!("\\[u{:04X}]", u32::from(letter));
        }
    }
    plain
}

fn section(title: &str, fill: impl FnOnce(&mut Roff)) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    fill(&mut roff);
    roff
}

fn verbs(roff: &mut Roff, command: &Command) {
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        roff.control("TP", []);
        roff.text([bold(name(verb)), roman("(1)")]);
        roff.text([roman(verb.get_about().map(ToString::to_string).unwrap_or_default())]);
    }
}

fn exit_status(roff: &mut Roff) {
    for [code, meaning, remedy] in exit_codes() {
        roff.control("TP", []);
        roff.text([bold(code)]);
        let mut text = markdown(meaning);
        if !remedy.is_empty() {
            text.push(roman(" ("));
            text.extend(markdown(remedy));
            text.push(roman(")"));
        }
        roff.text(text);
    }
}

/// Rows of three cells below the heading `## Exit codes` of the README.
pub(crate) fn exit_codes() -> Vec<[&'static str; 3]> {
    let section = README.split("\n## ").find(|section| section.starts_with("Exit codes\n")).unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix('|'));
    let cells = rows.map(|row| {
        let mut cells = row.splitn(3, '|').map(str::trim);
        std::array::from_fn(|_| cells.next().unwrap_or_default())
    });
    cells.filter(|cells: &[&str; 3]| cells[0].parse::<u8>().is_ok()).collect()
}

/// `code` in bold; the README's table has no other markup.
fn markdown(text: &str) -> Vec<Inline> {
    text.split('`').enumerate().map(|(at, part)| if at % 2 == 1 { bold(part) } else { roman(part) }).collect()
}

fn definitions(roff: &mut Roff, all: &[surroundings::Definition], typed: &str) {
    for definition in all.iter().filter(|definition| definition.is_for(typed)) {
        roff.control("TP", []);
        roff.text([italic(definition.name)]);
        roff.text(markdown(definition.text));
    }
}

/// Those of the verb; on the page of a group those of all that belong to it.
fn show_examples(roff: &mut Roff, command: &Command) {
    let of_this = examples::EXAMPLES.iter().filter(|(_, line)| examples::is_of(line, typed(command)));
    for (at, (what, line)) in of_this.enumerate() {
        if at > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(*what)]);
        roff.control("PP", []);
        roff.control("in", ["+4n"]);
        roff.control("nf", []);
        roff.text([roman(*line)]);
        roff.control("fi", []);
        roff.control("in", []);
    }
}

/// Where the verb belongs, what belongs to the same, and what else a reader may want.
fn see_also(roff: &mut Roff, command: &Command) {
    let own = name(command);
    let group = own.rsplit_once('-').map_or("envol", |(group, _)| group);
    let all = commands();
    let mut pages: Vec<&str> = all.iter().map(name).filter(|page| *page == group || *page == "envol").collect();
    pages.extend(all.iter().map(name).filter(|page| page.rsplit_once('-').is_some_and(|(of, _)| of == group)));
    pages.retain(|page| *page != own);
    for page in pages {
        roff.text([bold(page), roman("(1),")]);
    }
    roff.text([bold("mount"), roman("(8),")]);
    roff.text([bold("cryptsetup"), roman("(8)")]);
    roff.control("PP", []);
    roff.text([roman("The documentation in "), italic("/usr/share/doc/envol")]);
}
