//! The client against servers: real ones that speak the protocol, and one that says whatever a test wants.

mod answers;
mod canned;
mod contract;
mod grants;
mod home;
mod local;
mod login;
mod moto;
mod role;
mod tls_stack;
