//! Stores in memory, faulty stores, and snapshots made of random chunks.

mod chain;
mod decoder;
mod faulty;
mod format;
mod made;
mod places;
mod resumption;
mod round_trip;
