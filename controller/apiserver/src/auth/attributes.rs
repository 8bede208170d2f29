//! What a request asks, read from its method and URL alone. Does not know which resources exist.

use http::{Method, Uri};

use super::UserInfo;

/// A request as authorizers see it. Field names and values are upstream's `RequestInfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestAttributes {
    /// Who asks.
    pub user: UserInfo,
    /// get, list, watch, create, update, patch, delete, deletecollection; for other paths the method in lower case.
    pub verb: String,
    /// API group; empty for the core group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Plural resource name, such as `configmaps`.
    pub resource: String,
    /// Subresource such as `status`; empty for the object itself.
    pub subresource: String,
    /// Namespace; empty for cluster scope and for requests over all namespaces. For a Namespace it is its own name.
    pub namespace: String,
    /// Object name; empty for collections and creates, unless a field selector names one object.
    pub name: String,
    /// The path of the URL.
    pub path: String,
    /// Whether the path names a resource (`/api/v1/…`, `/apis/{group}/{version}/…`).
    pub resource_request: bool,
    /// The equality requirements of `fieldSelector`, as (field, value).
    pub field_selector: Vec<(String, String)>,
}

impl RequestAttributes {
    /// Reads a request. `query` is what stands after `?`, still percent-encoded.
    pub fn read(user: UserInfo, method: &Method, path: &str, query: Option<&str>) -> Self {
        let mut attributes = Self {
            user,
            verb: method.as_str().to_ascii_lowercase(),
            path: path.to_owned(),
            field_selector: equalities(parameter(query, "fieldSelector").as_deref().unwrap_or_default()),
            ..Self::default()
        };
        let segments: Vec<String> = path.trim_matches('/').split('/').map(percent_decoded).collect();
        // A segment that is empty, or a slash in disguise, could name an object in another place than the authorizer sees.
        if segments
            .iter()
            .any(|segment| segment.is_empty() || segment.contains('/') || segment == "." || segment == "..")
        {
            return attributes;
        }
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match segments.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => {
                attributes.read_resource(method, "", version, rest, query);
            }
            ["apis", group, version, rest @ ..] if !rest.is_empty() => {
                attributes.read_resource(method, group, version, rest, query);
            }
            _ => {}
        }
        attributes
    }

    fn read_resource(
        &mut self,
        method: &Method,
        group: &str,
        version: &str,
        rest: &[&str],
        query: Option<&str>,
    ) {
        self.resource_request = true;
        self.group = group.to_owned();
        self.version = version.to_owned();
        // The old path of watches.
        let is_watched = *method == Method::GET && matches!(rest, ["watch", _, ..]);
        let mut rest = if is_watched { &rest[1..] } else { rest };
        if let ["namespaces", namespace, below @ ..] = rest {
            self.namespace = (*namespace).to_owned();
            // `status` and `finalize` are parts of the Namespace itself.
            if !matches!(below, [] | ["status" | "finalize", ..]) {
                rest = below;
            }
        }
        let segment = |ordinal: usize| rest.get(ordinal).copied().unwrap_or_default().to_owned();
        self.resource = segment(0);
        self.name = segment(1);
        self.subresource = segment(2);
        let collection = self.name.is_empty();
        let verb = match *method {
            Method::GET if is_watched => "watch",
            Method::GET | Method::HEAD if collection && asks_to_watch(query) => "watch",
            Method::GET | Method::HEAD if collection => "list",
            Method::GET | Method::HEAD => "get",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if collection => "deletecollection",
            Method::DELETE => "delete",
            _ => return,
        };
        self.verb = verb.to_owned();
        if collection && let Some(name) = self.selected("metadata.name") {
            self.name = name.to_owned();
        }
    }

    /// Whether the field selector demands that `field` equals `value`: what an authorizer of a narrow caller asks
    /// of list, watch and deletecollection.
    pub fn selects(&self, field: &str, value: &str) -> bool {
        self.selected(field) == Some(value)
    }

    fn selected(&self, field: &str) -> Option<&str> {
        self.field_selector
            .iter()
            .find(|(own, _)| own == field)
            .map(|(_, value)| value.as_str())
    }

    /// `resource` or `resource/subresource`.
    pub fn full_resource(&self) -> String {
        match self.subresource.as_str() {
            "" => self.resource.clone(),
            subresource => format!("{}/{subresource}", self.resource),
        }
    }
}

/// Whether a request to read is for a watch, by its query or by the old path of watches.
pub(crate) fn asks_for_watch(uri: &Uri) -> bool {
    let mut steps = uri.path().trim_start_matches('/').split('/');
    let by_path = match steps.next() {
        Some("api") => steps.nth(1) == Some("watch"),
        Some("apis") => steps.nth(2) == Some("watch"),
        _ => false,
    };
    by_path || asks_to_watch(uri.query())
}

fn asks_to_watch(query: Option<&str>) -> bool {
    parameter(query, "watch").is_some_and(|value| !value.eq_ignore_ascii_case("false") && value != "0")
}

/// The first value of a query parameter, decoded.
pub(crate) fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    query?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (percent_decoded(key) == name).then(|| percent_decoded(&value.replace('+', " ")))
    })
}

/// The `a=b` and `a==b` terms of a field selector. Other terms narrow the selection too, and do not matter here.
fn equalities(selector: &str) -> Vec<(String, String)> {
    selector
        .split(',')
        .filter(|term| !term.contains("!="))
        .filter_map(|term| term.split_once('='))
        .map(|(field, value)| {
            (
                field.trim().to_owned(),
                value.strip_prefix('=').unwrap_or(value).trim().to_owned(),
            )
        })
        .collect()
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high * 16 + low),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &str, url: &str) -> RequestAttributes {
        let (path, query) = url
            .split_once('?')
            .map_or((url, None), |(path, query)| (path, Some(query)));
        RequestAttributes::read(UserInfo::anonymous(), &method.parse().unwrap(), path, query)
    }

    fn said(method: &str, url: &str) -> String {
        let a = read(method, url);
        if !a.resource_request {
            return format!("{} {}", a.verb, a.path);
        }
        format!(
            "{} {}.{}/{} in {:?} named {:?}",
            a.verb,
            a.full_resource(),
            a.group,
            a.version,
            a.namespace,
            a.name
        )
    }

    #[test]
    fn verbs_and_resources_are_read_as_upstream_reads_them() {
        for (method, url, expected) in [
            ("GET", "/version", "get /version"),
            ("GET", "/api/v1", "get /api/v1"),
            ("GET", "/apis/edge.test/v1", "get /apis/edge.test/v1"),
            (
                "GET",
                "/api/v1/configmaps/a%2Fb/status",
                "get /api/v1/configmaps/a%2Fb/status",
            ),
            (
                "GET",
                "/api/v1/namespaces//configmaps/a",
                "get /api/v1/namespaces//configmaps/a",
            ),
            (
                "GET",
                "/api/v1/namespaces/%2e%2e/configmaps/a",
                "get /api/v1/namespaces/%2e%2e/configmaps/a",
            ),
            (
                "GET",
                "/api/v1/namespaces",
                r#"list namespaces./v1 in "" named """#,
            ),
            (
                "GET",
                "/api/v1/namespaces/a",
                r#"get namespaces./v1 in "a" named "a""#,
            ),
            (
                "PUT",
                "/api/v1/namespaces/a/finalize",
                r#"update namespaces/finalize./v1 in "a" named "a""#,
            ),
            (
                "POST",
                "/api/v1/namespaces/a/configmaps",
                r#"create configmaps./v1 in "a" named """#,
            ),
            (
                "GET",
                "/apis/x.y/v1/widgets?watch=1",
                r#"watch widgets.x.y/v1 in "" named """#,
            ),
            (
                "GET",
                "/apis/x.y/v1/widgets?watch=false",
                r#"list widgets.x.y/v1 in "" named """#,
            ),
            (
                "GET",
                "/apis/x.y/v1/widgets?watch=true&fieldSelector=metadata.name%3Dn",
                r#"watch widgets.x.y/v1 in "" named "n""#,
            ),
            (
                "PATCH",
                "/apis/x.y/v1/namespaces/a/widgets/w/status",
                r#"patch widgets/status.x.y/v1 in "a" named "w""#,
            ),
            (
                "DELETE",
                "/apis/x.y/v1/namespaces/a/widgets",
                r#"deletecollection widgets.x.y/v1 in "a" named """#,
            ),
            (
                "DELETE",
                "/apis/x.y/v1/widgets/w%3A1",
                r#"delete widgets.x.y/v1 in "" named "w:1""#,
            ),
        ] {
            assert_eq!(said(method, url), expected, "{method} {url}");
        }
    }

    #[test]
    fn only_equality_counts_as_a_selection() {
        let url = "/apis/x.y/v1/widgets?fieldSelector=spec.nodeName%3D%3Dn1,metadata.name!%3Da";
        let attributes = read("GET", url);
        assert!(attributes.selects("spec.nodeName", "n1"));
        assert!(!attributes.selects("spec.nodeName", "n2"));
        assert!(!attributes.selects("metadata.name", "a"));
    }
}
