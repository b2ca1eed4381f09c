//! The commands of the binary, one file each, and what `up` is made of.

mod address;
mod admin;
mod credentials;
mod database;
mod doctor;
mod folder;
mod loopback;
mod metrics;
mod migrate;
mod node;
mod openapi;
mod prove;
mod schema;
mod stop;
mod up;

pub(crate) use admin::admin;
pub(crate) use doctor::{bad_settings, doctor};
pub(crate) use migrate::migrate;
pub(crate) use node::{serve, work};
pub(crate) use openapi::openapi;
pub(crate) use prove::{command as prove_command, prove};
pub(crate) use up::up;
