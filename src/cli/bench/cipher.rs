//! `envol bench cipher`: encryption alone, without storage, like `cryptsetup benchmark`.

use std::io::{self, IsTerminal};
use std::num::NonZero;
use std::thread;

use aes::Aes256;
use aes::cipher::KeyInit;
use serde_json::json;
use xts_mode::{Xts128, get_tweak_default};

use super::throughput::{Work, gb_per_s, median, print_progress};
use crate::cipher::{BLOCK_SIZE, BlockNumber, Path, XtsCipher};
use crate::cli::error::CliError;
use crate::cli::exit_code::ExitStatus;
use crate::cli::output::Output;

const SIZES: [usize; 3] = [4 << 10, 64 << 10, 1 << 20];
const DIRECTIONS: [&str; 2] = ["encrypt", "decrypt"];
/// Round about, so that a busy moment of the machine is not the fate of one row.
const ROUNDS: usize = 9;

/// One row for each number of threads.
struct Contender {
    name: String,
    /// Encrypts, decrypts.
    work: [Work; 2],
}

pub(super) fn run(path: Option<Path>, output: &Output) -> Result<(), CliError> {
    let contenders = match path {
        Some(path) if !path.is_available() => {
            let there = Path::ALL.into_iter().filter(|path| path.is_available());
            let there = there.map(|path| path.to_string()).collect::<Vec<_>>().join(", ");
            let message = format!("this processor does not have the path {path}; it has {there}");
            return Err(CliError::new(ExitStatus::HostLacks, message));
        }
        Some(path) => vec![ours(path)],
        None => all(),
    };
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = if cores == 1 { vec![1] } else { vec![1, cores] };
    let cells = measure(&contenders, &threads, !output.json && io::stderr().is_terminal());
    output.print(&table(&cells), &json!({ "fastest": Path::fastest().to_string(), "results": objects(&cells) }))
}

fn all() -> Vec<Contender> {
    let available = Path::ALL.into_iter().filter(|path| path.is_available());
    available.map(ours).chain([second_implementation(), memcpy()]).collect()
}

/// Of a benchmark, and no secret.
fn key() -> [u8; 64] {
    let mut key = [1; 64];
    key[32..].fill(2);
    key
}

fn ours(path: Path) -> Contender {
    let cipher = || XtsCipher::with_path(&key(), path).expect("the halves of the key differ");
    let (encrypt, decrypt) = (cipher(), cipher());
    Contender {
        name: path.to_string(),
        work: [
            Box::new(move |input, output| encrypt.encrypt_blocks(BlockNumber(0), input, output)),
            Box::new(move |input, output| decrypt.decrypt_blocks(BlockNumber(0), input, output)),
        ],
    }
}

fn second_implementation() -> Contender {
    let xts = || {
        let (data_key, tweak_key) = (Aes256::new(&[1; 32].into()), Aes256::new(&[2; 32].into()));
        Xts128::new(data_key, tweak_key)
    };
    let (encrypt, decrypt) = (xts(), xts());
    Contender {
        name: "xts-mode".to_owned(),
        work: [
            Box::new(move |input, output| {
                output.copy_from_slice(input);
                encrypt.encrypt_area(output, BLOCK_SIZE, 0, get_tweak_default);
            }),
            Box::new(move |input, output| {
                output.copy_from_slice(input);
                decrypt.decrypt_area(output, BLOCK_SIZE, 0, get_tweak_default);
            }),
        ],
    }
}

fn memcpy() -> Contender {
    let copy = || -> Work { Box::new(|input, output| output.copy_from_slice(input)) };
    Contender { name: "memcpy".to_owned(), work: [copy(), copy()] }
}

/// What was measured of one contender under one condition.
struct Cell {
    path: String,
    direction: &'static str,
    size_bytes: usize,
    threads: usize,
    gb_per_s: f64,
}

fn measure(contenders: &[Contender], threads: &[usize], show_progress: bool) -> Vec<Cell> {
    let mut conditions = Vec::new();
    for contender in contenders {
        for threads in threads {
            for (direction, work) in DIRECTIONS.into_iter().zip(&contender.work) {
                for size_bytes in SIZES {
                    conditions.push((contender, *threads, direction, work, size_bytes, Vec::new()));
                }
            }
        }
    }
    for round in 1..=ROUNDS {
        for (_, threads, _, work, size_bytes, samples) in &mut conditions {
            samples.push(gb_per_s(*threads, *size_bytes, work));
        }
        if show_progress {
            print_progress(round, ROUNDS);
        }
    }
    let cell = |(contender, threads, direction, _, size_bytes, samples): (&Contender, _, _, _, _, _)| Cell {
        path: contender.name.clone(),
        direction,
        size_bytes,
        threads,
        gb_per_s: median(samples),
    };
    conditions.into_iter().map(cell).collect()
}

/// A row for each contender and number of threads, a column for each direction and size.
fn table(cells: &[Cell]) -> String {
    let mut text = format!(
        "AES-256-XTS in blocks of 4 KiB, in memory; GB/s (10^9 bytes), medians of {ROUNDS}. A volume takes {}.\n",
        Path::fastest()
    );
    text += &format!("{:<20}", "");
    for direction in DIRECTIONS {
        text += &format!("  {direction:<27}");
    }
    text += &format!("\n{:<12}{:>8}", "PATH", "THREADS");
    for _ in DIRECTIONS {
        for size in SIZES {
            text += &format!("{:>9}", crate::cli::quantity::size(size as u64));
        }
        text += "  ";
    }
    for row in cells.chunks(DIRECTIONS.len() * SIZES.len()) {
        text = text.trim_end().to_owned() + &format!("\n{:<12}{:>8}", row[0].path, row[0].threads);
        for direction in row.chunks(SIZES.len()) {
            for cell in direction {
                text += &format!("{:>9.2}", cell.gb_per_s);
            }
            text += "  ";
        }
    }
    text
}

fn objects(cells: &[Cell]) -> Vec<serde_json::Value> {
    let object = |cell: &Cell| {
        json!({
            "path": cell.path,
            "direction": cell.direction,
            "size_bytes": cell.size_bytes,
            "threads": cell.threads,
            "gb_per_s": cell.gb_per_s,
        })
    };
    cells.iter().map(object).collect()
}
