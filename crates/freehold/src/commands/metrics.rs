//! The socket that collectors of metrics read.

use std::sync::Arc;

use anyhow::anyhow;
use freehold_kernel::App;
use tokio::net::TcpListener;

use crate::say;
use crate::settings::Metrics;

/// Listens before anything else is touched, so that an address in use costs nobody a start.
pub(super) async fn listen(wanted: Metrics) -> anyhow::Result<Option<TcpListener>> {
    match wanted {
        Metrics::Off => Ok(None),
        Metrics::At(address) => match TcpListener::bind(address).await {
            Ok(listener) => Ok(Some(listener)),
            Err(error) => Err(anyhow!(
                "metrics cannot be served at {address}: {error}. Set FREEHOLD_METRICS to another \
                 address, to port 0 for a free one, or to `off`."
            )),
        },
        Metrics::IfFree(address) => match TcpListener::bind(address).await {
            Ok(listener) => Ok(Some(listener)),
            Err(error) => {
                say::line(&format!(
                    "No metrics: {address} cannot be used ({error}). FREEHOLD_METRICS names another."
                ));
                Ok(None)
            }
        },
    }
}

/// Answers collectors for as long as the application runs.
pub(super) fn serve(app: &Arc<App>, listener: Option<TcpListener>) -> anyhow::Result<()> {
    let Some(listener) = listener else { return Ok(()) };
    say::line(&format!("Metrics are at http://{}/metrics", listener.local_addr()?));
    app.serve_metrics(listener);
    Ok(())
}
