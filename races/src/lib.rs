//! The source of the volume, run in every order that a scheduler can think of.
//!
//! The build script copies `src/volume` with the scheduler's locks and atomics in place of the standard library's, so what runs here is what
//! ships; one more copy for each mistake that the scenarios have to find. Atomics are sequentially consistent here: orders of memory are
//! not what this shows, orders of threads are.

#![allow(clippy::duplicate_mod, reason = "the scenarios are there once for each copy of the volume")]

pub mod store;
pub mod sync;

// What the source of the volume names as its neighbours.
use envol::{cipher, format, secret};

include!(concat!(env!("OUT_DIR"), "/copies.rs"));
