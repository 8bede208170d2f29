//! Which requests the audit log tells of, and how much: upstream's `audit.k8s.io/v1 Policy`. The first rule that matches counts; a request
//! that none matches is not told of. Pure.

use serde::Deserialize;

use crate::auth::RequestAttributes;

/// How much is told of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Level {
    /// Nothing.
    None,
    /// Who asked for what, and the answer's code.
    Metadata,
    /// The request's object, too.
    Request,
    /// The answer's object, too; of a watch, only the request.
    RequestResponse,
}

impl Level {
    /// As it is written in events.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    api_version: String,
    kind: String,
    #[serde(default)]
    metadata: serde_json::Map<String, serde_json::Value>,
    /// Stages that are not told of, by any rule.
    #[serde(default)]
    omit_stages: Vec<String>,
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<GroupResources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GroupResources {
    #[serde(default)]
    group: String,
    /// `pods`, `pods/log`, `pods/*`, `*/scale` or `*`; all when empty.
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

/// A stage of a request, at which an event may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The answer of a watch has begun.
    ResponseStarted,
    /// The answer has been given.
    ResponseComplete,
}

impl Stage {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
        }
    }
}

impl Policy {
    /// Reads a policy, YAML or JSON.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let policy: Self = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        if policy.api_version != "audit.k8s.io/v1" || policy.kind != "Policy" {
            let (version, kind) = (&policy.api_version, &policy.kind);
            return Err(format!(
                "it is {version} {kind}, and should be audit.k8s.io/v1 Policy"
            ));
        }
        Ok(policy)
    }

    /// Tells who asked for what, of every request.
    pub fn metadata_of_all() -> Self {
        Self {
            api_version: "audit.k8s.io/v1".to_owned(),
            kind: "Policy".to_owned(),
            metadata: serde_json::Map::new(),
            omit_stages: Vec::new(),
            rules: vec![Rule {
                level: Level::Metadata,
                users: Vec::new(),
                user_groups: Vec::new(),
                verbs: Vec::new(),
                resources: Vec::new(),
                namespaces: Vec::new(),
                non_resource_urls: Vec::new(),
                omit_stages: Vec::new(),
            }],
        }
    }

    /// Whether some request's object is to be told.
    pub(super) fn wants_objects(&self) -> bool {
        self.rules.iter().any(|rule| rule.level >= Level::Request)
    }

    /// How much is told of a request at a stage.
    pub(super) fn level(&self, asked: &RequestAttributes, stage: Stage) -> Level {
        let Some(rule) = self.rules.iter().find(|rule| rule.matches(asked)) else {
            return Level::None;
        };
        let omitted = self.omit_stages.iter().chain(&rule.omit_stages);
        if omitted.into_iter().any(|one| one == stage.name()) {
            Level::None
        } else {
            rule.level
        }
    }
}

impl Rule {
    fn matches(&self, asked: &RequestAttributes) -> bool {
        let user = &asked.user;
        (self.users.is_empty() || self.users.contains(&user.name))
            && (self.user_groups.is_empty() || self.user_groups.iter().any(|group| user.is_in(group)))
            && (self.verbs.is_empty() || self.verbs.contains(&asked.verb))
            && self.matches_target(asked)
    }

    fn matches_target(&self, asked: &RequestAttributes) -> bool {
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return asked.resource_request
                && (self.namespaces.is_empty() || self.namespaces.contains(&asked.namespace))
                && (self.resources.is_empty() || self.resources.iter().any(|one| one.matches(asked)));
        }
        if !self.non_resource_urls.is_empty() {
            let matches = |pattern: &String| match pattern.strip_suffix('*') {
                Some(prefix) => asked.path.starts_with(prefix),
                None => asked.path == *pattern,
            };
            return !asked.resource_request && self.non_resource_urls.iter().any(matches);
        }
        true
    }
}

impl GroupResources {
    fn matches(&self, asked: &RequestAttributes) -> bool {
        if self.group != asked.group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        let named = self.resource_names.is_empty() || self.resource_names.contains(&asked.name);
        let full = asked.full_resource();
        let matches = |pattern: &String| {
            pattern == "*"
                || *pattern == full
                || pattern
                    .strip_suffix("/*")
                    .is_some_and(|resource| resource == asked.resource)
                || pattern.strip_prefix("*/").is_some_and(|subresource| {
                    !asked.subresource.is_empty() && subresource == asked.subresource
                })
        };
        named && self.resources.iter().any(matches)
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::auth::UserInfo;

    const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: [system:apiserver]
- level: Metadata
  resources: [{group: '', resources: [secrets, 'pods/*', '*/scale']}]
- level: None
  nonResourceURLs: ['/healthz*', /version]
- level: Request
  verbs: [create]
  namespaces: [a]
- level: Metadata
  userGroups: [auditors]
  omitStages: [ResponseStarted]
";

    fn level(method: Method, path: &str, user: &str, group: &str, stage: Stage) -> Level {
        let user = UserInfo::authenticated(user, [group]);
        let asked = RequestAttributes::read(user, &method, path, None);
        Policy::parse(POLICY).unwrap().level(&asked, stage)
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        let of = |path: &str| level(Method::POST, path, "u", "g", Stage::ResponseComplete);
        assert_eq!(of("/api/v1/namespaces/a/secrets"), Level::Metadata);
        assert_eq!(of("/api/v1/namespaces/a/pods/x/log"), Level::Metadata);
        assert_eq!(of("/api/v1/namespaces/a/services/x/scale"), Level::Metadata);
        assert_eq!(of("/api/v1/namespaces/a/configmaps"), Level::Request);
        assert_eq!(of("/apis/apps/v1/namespaces/a/deployments"), Level::Request);
        assert_eq!(of("/api/v1/namespaces/b/configmaps"), Level::None);
        assert_eq!(of("/healthz/ping"), Level::None);
        let auditor = |stage| level(Method::GET, "/version/x", "u", "auditors", stage);
        assert_eq!(auditor(Stage::ResponseComplete), Level::Metadata);
        assert_eq!(auditor(Stage::ResponseStarted), Level::None);
        let server = level(
            Method::GET,
            "/x",
            "system:apiserver",
            "auditors",
            Stage::ResponseComplete,
        );
        assert_eq!(server, Level::None);
    }

    #[test]
    fn a_policy_that_cannot_be_kept_is_refused() {
        let refused = |text: &str| Policy::parse(text).unwrap_err();
        let response = POLICY.replace("level: Request", "level: Everything");
        assert!(
            refused(&response).contains("unknown variant `Everything`"),
            "{}",
            refused(&response)
        );
        assert!(refused(&POLICY.replace("/v1", "/v2")).contains("should be audit.k8s.io/v1 Policy"));
        assert!(refused(&POLICY.replace("verbs:", "verb:")).contains("unknown field `verb`"));
    }
}
