//! Query parameters: read and validated once, with upstream's texts.

use axum::extract::Query;
use http::Uri;
use serde_json::json;

use crate::kinds::FieldValidation;
use crate::status::{Cause, Status};

/// All query parameters of a request.
#[derive(Debug, Clone, Default)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads them from a URL.
    ///
    /// # Errors
    /// 400 when the query is not well formed.
    pub fn of(uri: &Uri) -> Result<Self, Status> {
        let Query(pairs) =
            Query::try_from_uri(uri).map_err(|error| Status::bad_request(error.to_string()))?;
        Ok(Self(pairs))
    }

    /// A parameter's first value; empty when absent.
    pub fn text(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(own, _)| own == name)
            .map_or("", |(_, value)| value)
    }

    /// A boolean parameter: absent, `false` and `0` are false; given without a value it is true.
    pub fn flag(&self, name: &str) -> bool {
        self.flag_if_given(name).unwrap_or(false)
    }

    pub(crate) fn flag_if_given(&self, name: &str) -> Option<bool> {
        let (_, value) = self.0.iter().find(|(own, _)| own == name)?;
        Some(!matches!(value.as_str(), "false" | "0"))
    }

    /// A whole number; `None` when it is absent or negative, which upstream takes for absent.
    fn number(&self, name: &str) -> Result<Option<u64>, Status> {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(None);
        }
        let number: i64 = text.parse().map_err(|error: std::num::ParseIntError| {
            use std::num::IntErrorKind::{NegOverflow, PosOverflow};
            let why = match error.kind() {
                PosOverflow | NegOverflow => "value out of range",
                _ => "invalid syntax",
            };
            Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: {why}"))
        })?;
        Ok(u64::try_from(number).ok())
    }

    /// All values of a parameter.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.0
            .iter()
            .filter(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }
}

/// How a list's `resourceVersion` is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum At {
    /// As it is now.
    #[default]
    Newest,
    /// Any state; ours is always the newest.
    Any,
    /// At this revision or later.
    NotOlderThan(u64),
    /// At exactly this revision.
    Exactly(u64),
}

/// Options of list and watch.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Text of the label selector.
    pub label_selector: String,
    /// Text of the field selector.
    pub field_selector: String,
    /// Most items wanted; `None` for all.
    pub limit: Option<usize>,
    /// Token of a list to be continued; empty for a new one.
    pub continue_token: String,
    /// State that is wanted.
    pub at: At,
    /// Whether a watch wants bookmarks.
    pub bookmarks: bool,
    /// Whether a watch wants the present state first, and a mark at its end.
    pub initial_events: Option<bool>,
    /// Seconds after which a watch ends.
    pub timeout_seconds: Option<u64>,
}

impl ListOptions {
    /// Reads and validates the options of a list or, if `watch`, of a watch.
    ///
    /// # Errors
    /// 400 for values that cannot be read, 422 for combinations that make no sense.
    pub fn of(parameters: &Parameters, watch: bool) -> Result<Self, Status> {
        let limit = parameters.number("limit")?.filter(|limit| *limit > 0);
        let continue_token = parameters.text("continue").to_owned();
        let initial_events = parameters.flag_if_given("sendInitialEvents");
        let version = parameters.text("resourceVersion");
        let matching = parameters.text("resourceVersionMatch");
        let causes = validate(version, matching, &continue_token, watch, initial_events);
        if !causes.is_empty() {
            return Err(Status::invalid_options("ListOptions", causes));
        }
        let at = match (version, matching) {
            ("", _) => At::Newest,
            ("0", _) => At::Any,
            (version, matching) => {
                let revision = version.parse().map_err(|_| {
                    if watch {
                        unreadable_version(version)
                    } else {
                        let why = unreadable_version(version).message;
                        Status::bad_request(format!("invalid resource version: {why}"))
                    }
                })?;
                // A page at a version without a match has always meant exactly that version.
                if matching == "Exact" || matching.is_empty() && limit.is_some() && !watch {
                    At::Exactly(revision)
                } else {
                    At::NotOlderThan(revision)
                }
            }
        };
        Ok(Self {
            label_selector: parameters.text("labelSelector").to_owned(),
            field_selector: parameters.text("fieldSelector").to_owned(),
            limit: limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
            continue_token,
            at,
            bookmarks: parameters.flag("allowWatchBookmarks"),
            initial_events,
            timeout_seconds: parameters.number("timeoutSeconds")?,
        })
    }
}

/// The state that is wanted of a single object.
///
/// # Errors
/// 500 for a version that is no number: upstream takes that for its own fault.
pub fn at_of_one(parameters: &Parameters) -> Result<At, Status> {
    match parameters.text("resourceVersion") {
        "" => Ok(At::Newest),
        "0" => Ok(At::Any),
        version => match version.parse() {
            Ok(revision) => Ok(At::NotOlderThan(revision)),
            Err(_) => Err(unreadable_version(version)),
        },
    }
}

fn unreadable_version(version: &str) -> Status {
    let why = format!(
        "resourceVersion: Invalid value: {version:?}: strconv.ParseUint: parsing {version:?}: invalid syntax"
    );
    Status::new(500, "", why)
}

fn validate(
    version: &str,
    matching: &str,
    continue_token: &str,
    watch: bool,
    initial_events: Option<bool>,
) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut match_is_forbidden = |why: &str| causes.push(Cause::forbidden("resourceVersionMatch", why));
    if watch {
        if !matching.is_empty() && initial_events.is_none() {
            match_is_forbidden(
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            );
        }
        if initial_events.is_some() && matching != "NotOlderThan" {
            match_is_forbidden("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
        }
        if !continue_token.is_empty() {
            match_is_forbidden("resourceVersionMatch is forbidden when continue is provided");
        }
        if !["", "NotOlderThan"].contains(&matching) {
            causes.push(Cause::not_supported(
                "resourceVersionMatch",
                json!(matching),
                &["NotOlderThan".to_owned()],
            ));
        }
        return causes;
    }
    if !matching.is_empty() {
        if version.is_empty() {
            match_is_forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if !continue_token.is_empty() {
            match_is_forbidden("resourceVersionMatch is forbidden when continue is provided");
        }
        if matching == "Exact" && version == "0" {
            match_is_forbidden("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
        }
        if !["Exact", "NotOlderThan"].contains(&matching) {
            let known = ["Exact".to_owned(), "NotOlderThan".to_owned(), String::new()];
            causes.push(Cause::not_supported(
                "resourceVersionMatch",
                format!("{matching:?}"),
                &known,
            ));
        }
    }
    if initial_events.is_some() {
        causes.push(Cause::forbidden(
            "sendInitialEvents",
            "sendInitialEvents is forbidden for list",
        ));
    }
    causes
}

/// Options that all writes share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Everything is done but the writing.
    pub dry_run: bool,
    /// What happens to unknown and doubled fields.
    pub field_validation: FieldValidation,
}

impl WriteOptions {
    /// Reads and validates them; `kind` is `CreateOptions`, `UpdateOptions`, `PatchOptions` or `DeleteOptions`.
    ///
    /// # Errors
    /// 422 for values that are not known.
    pub fn of(parameters: &Parameters, kind: &str) -> Result<Self, Status> {
        let mut causes = Vec::new();
        if kind == "PatchOptions" && parameters.flag_if_given("force").is_some() {
            causes.push(Cause::forbidden(
                "force",
                "may not be specified for non-apply patch",
            ));
        }
        Self::read(parameters, kind, causes)
    }

    fn read(parameters: &Parameters, kind: &str, mut causes: Vec<Cause>) -> Result<Self, Status> {
        causes.extend(manager_causes(parameters.text("fieldManager")));
        let asked = parameters.all("dryRun");
        let dry_run = dry_run(&asked, &mut causes);
        let field_validation = FieldValidation::parse(parameters.text("fieldValidation"));
        if field_validation.is_none() {
            let known = ["", "Ignore", "Strict", "Warn"].map(str::to_owned);
            causes.push(Cause::not_supported(
                "fieldValidation",
                json!(parameters.text("fieldValidation")),
                &known,
            ));
        }
        match field_validation {
            Some(field_validation) if causes.is_empty() => Ok(Self {
                dry_run,
                field_validation,
            }),
            _ => Err(Status::invalid_options(kind, causes)),
        }
    }
}

/// Options of server-side apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApplyOptions {
    /// Those of all writes.
    pub write: WriteOptions,
    /// Whether fields are taken from others who manage them.
    pub force: bool,
}

impl ApplyOptions {
    /// Reads and validates them.
    ///
    /// # Errors
    /// 422 for values that are not known, and without a manager.
    pub fn of(parameters: &Parameters) -> Result<Self, Status> {
        let mut causes = Vec::new();
        if parameters.text("fieldManager").is_empty() {
            causes.push(Cause::required("fieldManager", "is required for apply patch"));
        }
        Ok(Self {
            write: WriteOptions::read(parameters, "PatchOptions", causes)?,
            force: parameters.flag("force"),
        })
    }
}

/// Bytes that a manager's name may have.
const MAX_MANAGER: usize = 128;

fn manager_causes(manager: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    if manager.len() > MAX_MANAGER {
        causes.push(Cause::too_long("fieldManager", MAX_MANAGER));
    }
    for (position, letter) in manager.char_indices().filter(|(_, letter)| letter.is_control()) {
        let why = format!(
            "invalid character U+{:04X} (at position {position})",
            letter as u32
        );
        causes.push(Cause::invalid("fieldManager", json!(manager), &why));
    }
    causes
}

/// Under which name a writer manages fields: the one that they gave, or how their program calls itself before the first `/`.
pub fn manager(parameters: &Parameters, user_agent: &str) -> String {
    let given = parameters.text("fieldManager");
    if !given.is_empty() {
        return given.to_owned();
    }
    let program = user_agent.split('/').next().unwrap_or_default();
    let mut name = String::new();
    for letter in program.chars().filter(|letter| !letter.is_control()) {
        if name.len() + letter.len_utf8() > MAX_MANAGER {
            break;
        }
        name.push(letter);
    }
    if name.is_empty() {
        "unknown".to_owned()
    } else {
        name
    }
}

/// Whether `asked` asks for a dry run; anything but `All` is a cause to refuse.
pub fn dry_run(asked: &[&str], causes: &mut Vec<Cause>) -> bool {
    if asked.iter().any(|one| *one != "All") {
        causes.push(Cause::not_supported("dryRun", json!(asked), &["All".to_owned()]));
    }
    !asked.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(query: &str, watch: bool) -> Result<ListOptions, String> {
        let uri = format!("/x?{query}").parse().expect("a URL");
        ListOptions::of(&Parameters::of(&uri).expect("a query"), watch).map_err(|status| status.message)
    }

    #[test]
    fn combinations_without_sense_are_refused_in_upstreams_words() {
        let refused = |query, watch| list(query, watch).expect_err(query);
        let prefix = r#"ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: "#;
        for (query, watch, why) in [
            (
                "resourceVersionMatch=Exact",
                false,
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ),
            (
                "resourceVersion=1&resourceVersionMatch=Exact&continue=x",
                false,
                "resourceVersionMatch is forbidden when continue is provided",
            ),
            (
                "resourceVersion=0&resourceVersionMatch=Exact",
                false,
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ),
            (
                "resourceVersion=1&resourceVersionMatch=NotOlderThan",
                true,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ),
            (
                "sendInitialEvents=true",
                true,
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ),
        ] {
            assert_eq!(refused(query, watch), format!("{prefix}{why}"));
        }
        assert!(refused("sendInitialEvents=true", false).contains("sendInitialEvents is forbidden for list"));
    }

    #[test]
    fn versions_mean_what_the_match_says() {
        let at = |query| list(query, false).expect(query).at;
        assert_eq!(at(""), At::Newest);
        assert_eq!(at("resourceVersion=0"), At::Any);
        assert_eq!(at("resourceVersion=7"), At::NotOlderThan(7));
        assert_eq!(at("resourceVersion=7&limit=5"), At::Exactly(7));
        assert_eq!(at("resourceVersion=7&resourceVersionMatch=Exact"), At::Exactly(7));
        assert!(list("resourceVersion=x", false).is_err());
    }

    #[test]
    fn only_a_dry_run_of_everything_is_known() {
        let read = |query: &str| {
            let uri = format!("/x?{query}").parse().expect("a URL");
            WriteOptions::of(&Parameters::of(&uri).expect("a query"), "PatchOptions")
                .map_err(|status| (status.code, status.message))
        };
        assert!(read("dryRun=All").expect("it is known").dry_run);
        assert_eq!(read("dryRun=Foo").expect_err("it is unknown").0, 422);
        let force = read("force=true").expect_err("it is for apply");
        assert_eq!(
            force.1,
            r#"PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch"#
        );
    }
}
