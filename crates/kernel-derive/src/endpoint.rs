//! `#[endpoint]`: an async function becomes a value that knows its own documentation.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::ParseStream;
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, ItemFn, Lit, LitStr, Meta, Token};

/// The error codes between the attribute's parentheses.
pub(crate) fn parse_codes(input: ParseStream<'_>) -> syn::Result<Vec<LitStr>> {
    Ok(Punctuated::<LitStr, Token![,]>::parse_terminated(input)?.into_iter().collect())
}

/// A unit struct of the function's name, with the function inside.
pub(crate) fn expand(codes: &[LitStr], function: &ItemFn) -> TokenStream {
    let (name, visibility) = (&function.sig.ident, &function.vis);
    let text = name.to_string();
    let docs = docs(&function.attrs);
    let inner = ItemFn { vis: syn::Visibility::Inherited, ..function.clone() };
    quote! {
        #[allow(non_camel_case_types)]
        #[doc = #docs]
        #visibility struct #name;

        impl ::freehold_kernel::Endpoint for #name {
            fn meta(&self) -> ::freehold_kernel::EndpointMeta {
                ::freehold_kernel::EndpointMeta { name: #text, docs: #docs, errors: &[#(#codes),*] }
            }

            fn erase(self) -> ::freehold_kernel::ErasedEndpoint {
                #inner
                ::freehold_kernel::erase(#name)
            }
        }
    }
}

/// The doc comment as one text.
pub(crate) fn docs(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join("\n")
}
