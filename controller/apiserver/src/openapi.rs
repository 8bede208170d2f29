//! OpenAPI v3 documents, one for each group and version.
