//! Each scenario in many orders of its threads, and beside it the mistake that it has to find.
//!
//! `ENVOL_SOAK_ROUNDS` multiplies how many orders are tried, `ENVOL_SOAK_SEED` chooses others. A failure prints its schedule, which
//! `shuttle::replay` runs again.

use std::panic::catch_unwind;

use envol_races::{
    a_sync_waits_for_nobody, bits_before_their_data, no_barrier, nobody_is_woken, queued_writers_share, sound,
    synced_ahead_for_others, synced_ahead_too_much, the_end_wakes_nobody, writers_share,
};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};

type Scenario = fn();

/// Of each kind of scheduler: one that decides at random, and one that keeps to priorities and changes them a few times.
const ORDERS: usize = 400;
/// A mistake that needs more would not be a control.
const ORDERS_OF_A_CONTROL: usize = 4000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|number| number.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn runs(scenario: Scenario, orders: usize) {
    let seed = number("ENVOL_SOAK_SEED").unwrap_or(0);
    let mut config = Config::new();
    // The cipher and the wiping of its stack take some.
    config.stack_size = 1 << 20;
    Runner::new(RandomScheduler::new_from_seed(seed, orders), config.clone()).run(scenario);
    Runner::new(PctScheduler::new_from_seed(seed, 3, orders), config).run(scenario);
}

fn holds(scenario: Scenario) {
    let rounds = usize::try_from(number("ENVOL_SOAK_ROUNDS").unwrap_or(1)).expect("not as many");
    runs(scenario, ORDERS * rounds);
}

fn is_found(mistaken: Scenario) {
    assert!(catch_unwind(|| runs(mistaken, ORDERS_OF_A_CONTROL)).is_err(), "the mistake was not found");
}

#[test]
fn parts_of_one_block_written_at_once_are_all_there_in_any_order() {
    holds(sound::scenarios::parts_of_one_block);
    is_found(writers_share::scenarios::parts_of_one_block);
}

#[test]
fn a_block_is_seen_whole_in_any_order() {
    holds(sound::scenarios::a_block_is_seen_whole);
    is_found(writers_share::scenarios::a_block_is_seen_whole);
}

#[test]
fn what_nobody_waits_for_is_answered_in_any_order() {
    holds(sound::scenarios::what_nobody_waits_for_is_answered);
    holds(sound::scenarios::what_nobody_waits_for_is_answered_at_the_end);
    is_found(queued_writers_share::scenarios::what_nobody_waits_for_is_answered);
}

#[test]
fn what_a_sync_acknowledged_is_durable_in_any_order() {
    holds(sound::scenarios::what_a_sync_acknowledged_is_durable);
    is_found(bits_before_their_data::scenarios::what_a_sync_acknowledged_is_durable);
}

#[test]
fn what_was_answered_on_its_way_is_durable_in_any_order() {
    holds(sound::scenarios::what_was_answered_on_its_way_is_durable);
    is_found(synced_ahead_too_much::scenarios::what_was_answered_on_its_way_is_durable);
    is_found(synced_ahead_for_others::scenarios::what_was_answered_on_its_way_is_durable);
    is_found(a_sync_waits_for_nobody::scenarios::what_was_answered_on_its_way_is_durable);
}

#[test]
fn the_end_may_come_at_any_moment_and_nobody_waits_for_ever() {
    holds(sound::scenarios::the_end_comes_at_any_moment);
    is_found(nobody_is_woken::scenarios::the_end_comes_at_any_moment);
}

#[test]
fn whoever_waits_for_a_watch_hears_of_the_end_in_any_order() {
    holds(sound::scenarios::whoever_waits_for_a_watch_hears_of_the_end);
    is_found(the_end_wakes_nobody::scenarios::whoever_waits_for_a_watch_hears_of_the_end);
}

#[test]
fn a_snapshot_shows_one_moment_in_any_order() {
    holds(sound::scenarios::a_snapshot_shows_one_moment);
    is_found(no_barrier::scenarios::a_snapshot_shows_one_moment);
}

#[test]
fn a_growth_meets_requests_and_the_end_in_any_order() {
    holds(sound::scenarios::a_growth_meets_requests_and_the_end);
    is_found(nobody_is_woken::scenarios::a_growth_meets_requests_and_the_end);
}
