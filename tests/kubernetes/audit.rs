//! The API server's audit log: who asked for what.

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::Value;

use crate::{
    cluster::Home,
    release::{NAME, NAMESPACE},
};

/// The log from some moment on.
pub(crate) struct Audit {
    path: PathBuf,
    begin: usize,
}

impl Audit {
    /// From now on.
    pub(crate) fn begin(home: &Home) -> Self {
        let mut audit = Self {
            path: home.audit_log(),
            begin: 0,
        };
        audit.begin = audit.text().len();
        audit
    }

    /// Requests of a component's account, `controller` or `agent`, each once.
    pub(crate) fn requests_of(&self, component: &str) -> Vec<Value> {
        let account = format!("system:serviceaccount:{NAMESPACE}:{NAME}-{component}");
        let text = self.text();
        // The last line may be half written.
        let whole = text[self.begin..]
            .rsplit_once('\n')
            .map_or("", |(whole, _)| whole);
        let events = whole
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("an event a line"));
        let mut seen = BTreeSet::new();
        events
            .filter(|event| event["user"]["username"] == *account && !is_of_a_test(event))
            // A watch is told at its begin and at its end.
            .filter(|event| seen.insert(event["auditID"].as_str().map(str::to_owned)))
            .collect()
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.path).expect("the audit log can be read")
    }
}

/// What tests ask with the token of a pod, through kubectl and curl, is meant to be refused.
fn is_of_a_test(event: &Value) -> bool {
    let agent = event["userAgent"].as_str().unwrap_or_default();
    agent.starts_with("kubectl") || agent.starts_with("curl")
}

/// One line for the message of a test that fails.
pub(crate) fn line(event: &Value) -> String {
    format!(
        "{} {} {}",
        event["user"]["username"], event["verb"], event["requestURI"]
    )
}
