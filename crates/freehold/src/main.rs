//! The binary: reads what was typed, does it, and ends with a code that says how it went
//! (0 done, 1 it could not be done, 2 it was asked for in a way that makes no sense).

use std::process::ExitCode;

use freehold::{command_line, say};
use mimalloc::MiMalloc;

/// A request is some dozens of small, short-lived allocations, freed on whichever core it ends on.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // Before anything speaks TLS: with no provider chosen, the first connection would panic.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        say::error("TLS was set up twice; this is a fault in Freehold, please report it.");
        return ExitCode::FAILURE;
    }
    match command_line::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::error(&error.to_string());
            ExitCode::from(command_line::exit_code(&error))
        }
    }
}
