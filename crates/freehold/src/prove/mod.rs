//! Proving isolation on a running application with all modules: two tenants that have lived, and
//! one of every kind of principal.

mod ask;
pub mod life;
pub mod principals;
mod receiver;
