//! `#[derive(Event)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, Ident, LitStr};

use crate::endpoint::docs;

/// Implements the kernel's `Event` for a struct with named fields.
pub(crate) fn derive(input: &DeriveInput) -> syn::Result<TokenStream> {
    let (kind, subject) = names(input)?;
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(input, "only a struct can be an event"));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new_spanned(input, "an event has named fields"));
    };
    let personal = fields
        .named
        .iter()
        .filter(|field| field.attrs.iter().any(|attribute| attribute.path().is_ident("personal")));
    let personal: Vec<String> =
        personal.filter_map(|field| field.ident.as_ref()).map(camel_case).collect();
    let (name, description) = (&input.ident, docs(&input.attrs));
    Ok(quote! {
        impl ::freehold_kernel::Event for #name {
            const TYPE: &'static str = #kind;
            const DESCRIPTION: &'static str = #description;
            const PERSONAL: &'static [&'static str] = &[#(#personal),*];

            fn subject(&self) -> ::std::string::String {
                self.#subject.to_string()
            }
        }
    })
}

/// Reads `#[event(type = "…", subject = field)]`.
fn names(input: &DeriveInput) -> syn::Result<(LitStr, Ident)> {
    let (mut kind, mut subject) = (None, None);
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("event")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("type") {
                kind = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("subject") {
                subject = Some(meta.value()?.parse()?);
            } else {
                return Err(meta.error("expected `type` or `subject`"));
            }
            Ok(())
        })?;
    }
    kind.zip(subject).ok_or_else(|| {
        Error::new_spanned(&input.ident, "say #[event(type = \"thing.happened\", subject = field)]")
    })
}

/// The field as the wire has it; events are `rename_all = "camelCase"`.
fn camel_case(field: &Ident) -> String {
    let mut camel = String::new();
    let mut raise = false;
    for letter in field.to_string().chars() {
        match letter {
            '_' => raise = true,
            _ if raise => {
                camel.push(letter.to_ascii_uppercase());
                raise = false;
            }
            _ => camel.push(letter),
        }
    }
    camel
}
