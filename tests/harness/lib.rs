//! A whole cluster in one process, and helpers that drive real programs.
