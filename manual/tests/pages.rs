//! Every verb has a page that renders without a warning, and what a page tells to type is understood.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// The pages, as the packages have them made.
fn pages() -> (TempDir, Vec<PathBuf>) {
    let dir = TempDir::new().unwrap();
    let made = Command::new(env!("CARGO_BIN_EXE_envol-manual")).arg(dir.path()).arg("2026-11-22").output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut pages: Vec<PathBuf> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.sort();
    (dir, pages)
}

/// The names of the verbs as `--help` has them, down to the last.
fn verbs_by_help(command: &clap::Command, name: &str, found: &mut Vec<String>) {
    found.push(format!("{name}.1"));
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        verbs_by_help(verb, &format!("{name}-{}", verb.get_name()), found);
    }
}

#[test]
fn every_verb_has_its_page_and_every_page_its_sections() {
    let (_dir, pages) = pages();
    let mut verbs = Vec::new();
    verbs_by_help(&envol::cli::command(), "envol", &mut verbs);
    verbs.sort();
    let names: Vec<&str> = pages.iter().map(|page| page.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, verbs);
    assert!(verbs.iter().any(|verb| verb == "envol-kms-principal-attach-policy.1"), "{verbs:?}");
    for page in &pages {
        let text = fs::read_to_string(page).unwrap();
        for title in [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "OPTIONS",
            "EXIT STATUS",
            "ENVIRONMENT",
            "FILES",
            "EXAMPLES",
            "SEE ALSO",
        ] {
            let heading = |line: &str| line.strip_prefix(".SH ").is_some_and(|found| found.trim_matches('"') == title);
            let section: Vec<&str> = text
                .lines()
                .skip_while(|line| !heading(line))
                .skip(1)
                .take_while(|line| !line.starts_with(".SH"))
                .collect();
            assert!(!section.is_empty(), "{}: {title} is missing or empty", page.display());
        }
    }
}

#[test]
fn the_exit_codes_are_those_of_the_readme() {
    let (dir, _) = pages();
    let page = fs::read_to_string(dir.path().join("envol-attach.1")).unwrap();
    let section = page.split(".SH \"EXIT STATUS\"").nth(1).unwrap().split(".SH").next().unwrap();
    let codes: Vec<&str> = section.split(".TP\n\\fB").skip(1).map(|entry| entry.split('\\').next().unwrap()).collect();
    assert_eq!(codes, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "130"]);
    assert!(section.contains("the volume is terminal"), "{section}");
}

/// What groff and mandoc say of a page; scripts/test.sh installs both.
fn complaints(page: &std::path::Path) -> String {
    let mut all = String::new();
    for (program, arguments) in
        [("groff", &["-man", "-Tutf8", "-ww", "-z"][..]), ("mandoc", &["-T", "lint", "-W", "warning"][..])]
    {
        let output = Command::new(program).args(arguments).arg(page).output();
        let output = output.unwrap_or_else(|error| panic!("{program}: {error}; scripts/test.sh installs it"));
        all += &String::from_utf8_lossy(&output.stdout);
        all += &String::from_utf8_lossy(&output.stderr);
    }
    all
}

#[test]
fn the_pages_render_without_a_warning() {
    let (dir, pages) = pages();
    for page in &pages {
        assert_eq!(complaints(page), "", "{}", page.display());
    }
    let broken = dir.path().join("broken.1");
    fs::write(&broken, ".TH BROKEN 1\n.SH NAME\nbroken \\- with a macro that nobody knows\n.XYZ\n").unwrap();
    assert!(complaints(&broken).contains("XYZ"), "neither program would have complained");
}

#[test]
fn every_example_is_understood_and_every_verb_has_one() {
    let lines: Vec<&str> = envol_manual::example_lines().collect();
    for line in &lines {
        if let Err(error) = envol::cli::command().try_get_matches_from(line.split(' ')) {
            panic!("manual/src/examples.rs: {line}\n{error}");
        }
    }
    let wrong = envol::cli::command().try_get_matches_from("envol attach no-volume".split(' '));
    assert!(wrong.is_err(), "anything would have been understood");
    for command in envol_manual::commands().iter().filter(|command| !command.has_subcommands()) {
        let typed = command.get_bin_name().unwrap();
        let shown = lines.iter().any(|line| line.starts_with(&format!("{typed} ")) || *line == typed);
        assert!(shown, "manual/src/examples.rs has no line for `{typed}`");
    }
}
