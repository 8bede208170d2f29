//! `edgeloom version`.

/// The version and what it speaks.
pub(crate) fn text() -> String {
    format!(
        "edgeloom {} (API {}/{})\n",
        env!("CARGO_PKG_VERSION"),
        crds::GROUP,
        crds::VERSION
    )
}
