//! Handlers: async functions whose arguments are [`Input`]s and whose success is an [`Output`].
//! What OpenAPI needs to know is read off their signature.

use std::future::Future;

use futures_util::future::BoxFuture;

use super::answer::{Answer, Output};
use super::input::Input;
use super::operation::Operation;
use super::query;
use crate::cx::Cx;
use crate::error::Result;

/// What `#[endpoint]` makes of an async function: something to put on a route.
pub trait Endpoint: 'static {
    /// Name, documentation and error codes.
    fn meta(&self) -> EndpointMeta;

    /// The handler without its types.
    fn erase(self) -> ErasedEndpoint;
}

/// What `#[endpoint]` read off the function.
#[derive(Clone, Copy, Debug)]
pub struct EndpointMeta {
    /// The function's name.
    pub name: &'static str,
    /// Its doc comment; the first paragraph is the summary.
    pub docs: &'static str,
    /// The codes it refuses with, beside those that its inputs and the wrapper have.
    pub errors: &'static [&'static str],
}

/// A handler without its types.
pub struct ErasedEndpoint {
    pub(crate) describe: fn(&mut Operation),
    pub(crate) call: Box<dyn Fn(Cx) -> BoxFuture<'static, Result<Answer>> + Send + Sync>,
}

/// Hides a handler's types. Called by the code that `#[endpoint]` writes.
pub fn erase<Args: 'static, H: Handler<Args>>(handler: H) -> ErasedEndpoint {
    ErasedEndpoint {
        describe: H::describe,
        call: Box::new(move |cx| Box::pin(handler.clone().call(cx))),
    }
}

/// An async function of up to five inputs.
pub trait Handler<Args>: Clone + Send + Sync + 'static {
    /// Describes inputs and output.
    fn describe(operation: &mut Operation);

    /// Parses every input, makes them in order, runs the function, writes its answer.
    fn call(self, cx: Cx) -> impl Future<Output = Result<Answer>> + Send;
}

// One implementation for each number of arguments; a function cannot be generic over that.
macro_rules! handler {
    ($($input:ident),*) => {
        impl<F, Fut, Out, $($input),*> Handler<($($input,)*)> for F
        where
            F: Fn($($input),*) -> Fut + Clone + Send + Sync + 'static,
            Fut: Future<Output = Result<Out>> + Send,
            Out: Output,
            $($input: Input,)*
        {
            fn describe(operation: &mut Operation) {
                $($input::describe(operation);)*
                Out::describe(operation);
            }

            #[allow(non_snake_case, clippy::unused_unit)]
            async fn call(self, cx: Cx) -> Result<Answer> {
                let ($($input,)*) = ($($input::parse(&cx)?,)*);
                query::check(&cx)?;
                $(let $input = $input::make($input, &cx).await?;)*
                self($($input),*).await?.answer(&cx)
            }
        }
    };
}

handler!();
handler!(A);
handler!(A, B);
handler!(A, B, C);
handler!(A, B, C, D);
handler!(A, B, C, D, E);
