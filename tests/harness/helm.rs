//! The real helm, and the chart as it renders it.

use std::{path::Path, process::Command, sync::OnceLock};

use serde_json::Value;

use crate::up::repository;

/// The Helm lines that the chart is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Helm {
    /// The older line.
    V3,
    /// The one of today.
    V4,
}

impl Helm {
    /// Its program, fetched if need be.
    ///
    /// # Panics
    ///
    /// When it cannot be fetched.
    #[must_use]
    pub fn program(self) -> &'static Path {
        static PROGRAMS: [OnceLock<std::path::PathBuf>; 2] = [const { OnceLock::new() }; 2];
        let (place, line) = match self {
            Self::V3 => (&PROGRAMS[0], "3"),
            Self::V4 => (&PROGRAMS[1], "4"),
        };
        place.get_or_init(|| {
            let script = repository().join("tests/programs/helm.sh");
            let output = Command::new(script).arg(line).output().expect("a shell runs");
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "helm {line} is missing: {errors}");
            String::from_utf8_lossy(&output.stdout).trim().into()
        })
    }

    /// Runs it; gives what it printed, or what it complained of.
    ///
    /// # Errors
    ///
    /// When it fails.
    ///
    /// # Panics
    ///
    /// When it cannot be run.
    pub fn run(self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(self.program());
        command.args(arguments).env("KUBECONFIG", "/dev/null");
        let output = command.output().expect("helm runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }

    /// The manifests of a release with such `--set-json` values, or why there are none.
    ///
    /// # Errors
    ///
    /// When the values are refused.
    ///
    /// # Panics
    ///
    /// When what is rendered is no YAML.
    pub fn template(self, release: &Release<'_>, values: &[String]) -> Result<Vec<Value>, String> {
        let chart = chart();
        let mut arguments = vec!["template", release.name, &chart, "--namespace", release.namespace];
        for value in values {
            arguments.extend(["--set-json", value]);
        }
        let text = self.run(&arguments)?;
        Ok(crds::manifest::read(&text).unwrap_or_else(|error| panic!("{values:?}: {error}\n{text}")))
    }
}

/// What a release is called.
#[derive(Clone, Copy, Debug)]
pub struct Release<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
}

impl Release<'_> {
    /// As the documentation has it.
    pub const USUAL: Release<'static> = Release {
        name: "edgeloom",
        namespace: "edgeloom-system",
    };
}

/// The chart's folder.
#[must_use]
pub fn chart() -> String {
    repository().join("charts/edgeloom").display().to_string()
}
