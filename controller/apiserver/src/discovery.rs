//! Discovery documents: which groups, versions and resources are served.
