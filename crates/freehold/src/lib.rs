//! Freehold, assembled: the list of modules, the settings, and the commands of the binary. A
//! library so that tests and benchmarks can put the same application together.

mod bench;
pub mod command_line;
mod commands;
mod modules;
#[doc(hidden)]
pub mod prove;
pub mod say;
pub mod settings;

pub use modules::{ModuleSettings, modules};
