//! The interactive documentation: Swagger UI from the binary, and the document it shows.

use std::sync::{Arc, LazyLock};

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use utoipa_swagger_ui::Config;

use crate::app::App;

static UI: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
    Arc::new(Config::from("/openapi.json").display_operation_id(true).filter(true))
});

/// Only these pages need scripts and styles; the API's own policy allows none.
const CSP: &str = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; \
                   script-src 'self' 'unsafe-inline'; frame-ancestors 'none'";

pub(super) async fn openapi(State(app): State<Arc<App>>) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    (headers, app.openapi().to_owned()).into_response()
}

pub(super) async fn index() -> Redirect {
    Redirect::permanent("/docs/index.html")
}

pub(super) async fn file(Path(file): Path<String>) -> Response {
    match utoipa_swagger_ui::serve(&file, UI.clone()) {
        Ok(Some(file)) => (
            [
                (header::CONTENT_TYPE, file.content_type),
                (header::CONTENT_SECURITY_POLICY, CSP.to_owned()),
            ],
            file.bytes,
        )
            .into_response(),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => {
            tracing::error!(%error, "the documentation page could not be made");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
