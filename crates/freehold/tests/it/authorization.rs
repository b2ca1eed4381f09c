//! Who may ask what: every kind of principal × every route, as a file that reviewers read in a diff.

use freehold_proof::routes;

use crate::isolation::cast;
use crate::life::app;
use crate::snapshots::agrees;

#[tokio::test]
async fn who_may_ask_what_is_what_snapshots_say() {
    let app = app().await;
    let cast = cast(&app).await;
    let matrix = Box::pin(routes::matrix(&app.subject(), &cast)).await.unwrap();
    assert_eq!(matrix.rows.len(), app.kernel().routes().len());
    assert!(
        agrees("authorization.md", &matrix.to_markdown()),
        "snapshots/authorization.md differs. Type `make snapshots`, read the diff."
    );
}
