#![doc = include_str!("../README.md")]
// A test kit fails by panicking, with a sentence: that is what the person running the tests sees.
#![allow(clippy::expect_used, clippy::print_stderr)]

mod answer;
mod app;
mod authenticator;
mod client;
mod cluster;
pub mod contract;
mod database;
mod events;
pub mod isolation;
mod openapi;
mod people;
mod pooler;
mod raw;

pub use answer::Answer;
pub use app::{TestApp, TestAppBuilder, TestClock};
pub use client::{Client, Request};
pub use events::RecordedEvent;
pub use people::{Principal, Tenant};
pub use pooler::Pooler;
pub use raw::{Raw, RawConnection};
