//! What the kernel derives: `Event` for structs, `#[endpoint]` for handlers. Nothing else.

mod endpoint;
mod event;

use proc_macro::TokenStream;
use syn::parse_macro_input;

/// Derives the kernel's `Event` for a struct.
///
/// `#[event(type = "user.created", subject = user_id)]` names the type and the field that says
/// what it happened to; the doc comment is the description; fields marked `#[personal]` are sealed.
#[proc_macro_derive(Event, attributes(event, personal))]
pub fn event(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as syn::DeriveInput);
    event::derive(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Makes an async function something to put on a route: carries its doc comment (first paragraph:
/// summary) and the error codes it refuses with: `#[endpoint("webhooks.url_taken")]`.
#[proc_macro_attribute]
pub fn endpoint(codes: TokenStream, function: TokenStream) -> TokenStream {
    let codes = parse_macro_input!(codes with endpoint::parse_codes);
    let function = parse_macro_input!(function as syn::ItemFn);
    endpoint::expand(&codes, &function).into()
}
