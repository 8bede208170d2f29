//! Prints every CustomResourceDefinition, or writes each to a file of the folder that is given.

use std::{env, fs, path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    let folder = env::args_os().nth(1).map(PathBuf::from);
    for definition in crds::definitions() {
        let text = crds::manifest::print(&definition);
        let Some(folder) = &folder else {
            use std::io::Write as _;
            if write!(std::io::stdout(), "---\n{text}").is_err() {
                return ExitCode::FAILURE;
            }
            continue;
        };
        let file = folder.join(format!("{}.yaml", definition.spec.names.plural));
        if let Err(error) = fs::write(&file, text) {
            eprintln!("{}: {error}", file.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
