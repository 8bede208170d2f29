//! What a worker refuses, survives and reports.
