//! The list of modules. The order is the order of their migrations.

use freehold_kernel::Module;

/// How people may join.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Registration {
    /// a
    #[default]
    Open,
    /// b
    Verified,
}

/// x
#[derive(Clone, Debug, Default)]
pub struct IdentitySettings {
    /// x
    pub registration: Registration,
    /// x
    pub operator: Option<NewOperator>,
}
/// x
#[derive(Clone, Debug)]
pub struct NewOperator {
    /// a
    pub email: String,
    /// a
    pub name: String,
    /// a
    pub password: String,
}

struct Dummy;
impl freehold_kernel::ports::Authenticate for Dummy {
    fn authenticate<'a>(
        &'a self,
        _: &'a freehold_kernel::Cx,
    ) -> futures_util::future::BoxFuture<
        'a,
        freehold_kernel::Result<Option<std::sync::Arc<freehold_kernel::Actor>>>,
    > {
        Box::pin(std::future::ready(Ok(None)))
    }
    fn forget(&self, _: &freehold_kernel::Change) {}
    fn refusals(&self) -> &'static [&'static str] {
        &[]
    }
}

/// Every module of the binary.
#[must_use]
pub fn modules(_identity: IdentitySettings) -> Vec<Module> {
    vec![
        // modules: begin
        Module::new("identity").authenticator(std::sync::Arc::new(Dummy)),
        // modules: end
    ]
}
