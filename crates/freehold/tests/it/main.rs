//! The whole application: journeys over several modules, the rules of the API for every route, the
//! isolation of every table, and the snapshots that reviewers read.

mod contract;
mod isolation;
mod journey;
mod life;
mod snapshots;
