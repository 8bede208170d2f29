//! What makes a CustomResourceDefinition valid, with Kubernetes' causes.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Value, json};

use super::{text, texts};
use crate::schema::{metadata, structural};
use crate::status::Cause;
use crate::table::jsonpath::JsonPath;

/// At most so many fields of a version may be selectable.
const SELECTABLE_FIELDS_MAX: usize = 8;

/// Groups of Kubernetes itself, whose definitions need an approval annotation.
const PROTECTED_GROUPS: [&str; 2] = ["k8s.io", "kubernetes.io"];

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];

static LABEL: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$").expect("a constant pattern"));

/// All causes for which a definition is invalid; `old` is the stored one on updates.
pub fn validate(definition: &Value, old: Option<&Value>) -> Vec<Cause> {
    let spec = &definition["spec"];
    let mut causes = Vec::new();
    name_causes(definition, &mut causes);
    match spec["scope"].as_str() {
        None | Some("") => causes.push(Cause::required("spec.scope", "")),
        Some("Cluster" | "Namespaced") => {}
        Some(_) => {
            let known = ["Cluster", "Namespaced"].map(str::to_owned);
            causes.push(Cause::not_supported("spec.scope", &spec["scope"], &known));
        }
    }
    if spec["preserveUnknownFields"] == true {
        let detail = "must be false in order to use defaults in the schema, and in apiextensions.k8s.io/v1";
        causes.push(Cause::invalid("spec.preserveUnknownFields", json!(true), detail));
    }
    match spec["conversion"]["strategy"].as_str() {
        None | Some("None") => {}
        Some(_) => {
            let known = ["None".to_owned()]; // Conversion webhooks are not served here.
            causes.push(Cause::not_supported(
                "spec.conversion.strategy",
                &spec["conversion"]["strategy"],
                &known,
            ));
        }
    }
    versions_causes(spec, &mut causes);
    approval_causes(definition, &mut causes);
    let stores = |version: &Value| version["storage"] == true;
    let versions = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if old.is_none() && !versions.iter().any(stores) {
        let why = "must have at least one stored version";
        causes.push(Cause::invalid("status.storedVersions", Value::Null, why));
    }
    stored_causes(definition, versions, &mut causes);
    if let Some(old) = old {
        immutable_causes(spec, &old["spec"], established(old), &mut causes);
    }
    lift(versions, causes)
}

/// Upstream keeps what all versions have in common in one place above them, and tells mistakes by that place.
fn lift(versions: &[Value], causes: Vec<Cause>) -> Vec<Cause> {
    const PLACES: [(&str, &str); 4] = [
        ("schema", "spec.validation"),
        ("subresources", "spec.subresources"),
        ("additionalPrinterColumns", "spec.additionalPrinterColumns"),
        ("selectableFields", "spec.selectableFields"),
    ];
    let common: Vec<(&str, &str)> = PLACES
        .into_iter()
        .filter(|(field, _)| versions.windows(2).all(|pair| pair[0][field] == pair[1][field]))
        .collect();
    let mut lifted: Vec<Cause> = Vec::new();
    for mut cause in causes {
        for (field, place) in &common {
            for index in 0..versions.len() {
                let below = format!("spec.versions[{index}].{field}");
                if let Some(rest) = cause.field.strip_prefix(&below)
                    && rest.starts_with(['.', '['])
                {
                    cause.field = format!("{place}{rest}");
                    cause.message = cause.message.replace(&below, place);
                }
            }
        }
        if !lifted.contains(&cause) {
            lifted.push(cause);
        }
    }
    lifted
}

/// A version in which objects may be kept has to stay.
fn stored_causes(definition: &Value, versions: &[Value], causes: &mut Vec<Cause>) {
    let stored = definition["status"]["storedVersions"].as_array();
    for (index, stored) in stored.into_iter().flatten().enumerate() {
        if versions.iter().any(|version| version["name"] == *stored) {
            continue;
        }
        let name = text(stored);
        let why = format!(
            "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage \
             migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
        );
        causes.push(Cause::invalid(
            format!("status.storedVersions[{index}]"),
            stored,
            &why,
        ));
    }
}

fn name_causes(definition: &Value, causes: &mut Vec<Cause>) {
    let spec = &definition["spec"];
    let (group, names) = (text(&spec["group"]), &spec["names"]);
    if group.is_empty() {
        causes.push(Cause::required("spec.group", ""));
    } else if !metadata::is_dns_subdomain(group) {
        let detail = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
                      and must start and end with an alphanumeric character (e.g. 'example.com')";
        causes.push(Cause::invalid("spec.group", &spec["group"], detail));
    } else if !group.contains('.') {
        causes.push(Cause::invalid(
            "spec.group",
            &spec["group"],
            "should be a domain with at least one dot",
        ));
    }
    let wanted = format!("{}.{group}", text(&names["plural"]));
    if text(&definition["metadata"]["name"]) != wanted {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        causes.push(Cause::invalid(
            "metadata.name",
            json!(text(&definition["metadata"]["name"])),
            detail,
        ));
    }
    let label_detail = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
                        alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', \
                        regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
    let mut check_label = |field: String, name: &str, required: bool| {
        if name.is_empty() && required {
            causes.push(Cause::required(field, ""));
        } else if !name.is_empty() && !LABEL.is_match(&name.to_lowercase()) {
            causes.push(Cause::invalid(field, json!(name), label_detail));
        }
    };
    let lower_case_only = |name: &str| name.chars().any(char::is_uppercase);
    for name in ["plural", "singular", "kind", "listKind"] {
        check_label(
            format!("spec.names.{name}"),
            text(&names[name]),
            name == "plural" || name == "kind",
        );
    }
    for list in ["shortNames", "categories"] {
        for (index, name) in texts(&names[list]).iter().enumerate() {
            check_label(format!("spec.names.{list}[{index}]"), name, true);
        }
    }
    for name in ["plural", "singular"] {
        if lower_case_only(text(&names[name])) {
            causes.push(Cause::invalid(
                format!("spec.names.{name}"),
                &names[name],
                label_detail,
            ));
        }
    }
    if !text(&names["kind"]).is_empty() && names["kind"] == names["listKind"] {
        let detail = "kind and listKind may not be the same";
        causes.push(Cause::invalid("spec.names.listKind", &names["listKind"], detail));
    }
}

fn versions_causes(spec: &Value, causes: &mut Vec<Cause>) {
    let versions = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let storage = versions
        .iter()
        .filter(|version| version["storage"] == true)
        .count();
    if storage != 1 {
        let detail = "must have exactly one version marked as storage version";
        let names: Vec<&str> = versions.iter().map(|version| text(&version["name"])).collect();
        causes.push(Cause::invalid("spec.versions", json!(names), detail));
    }
    for (index, version) in versions.iter().enumerate() {
        let field = format!("spec.versions[{index}]");
        let name = text(&version["name"]);
        if !LABEL.is_match(name) {
            let detail = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
                          alphabetic character, and end with an alphanumeric character";
            causes.push(Cause::invalid(format!("{field}.name"), json!(name), detail));
        }
        if versions[..index]
            .iter()
            .any(|earlier| earlier["name"] == version["name"])
        {
            causes.push(Cause::invalid(
                "spec.versions",
                json!(name),
                "must contain unique version names",
            ));
        }
        if !text(&version["deprecationWarning"]).is_empty() && version["deprecated"] != true {
            let detail = "can only be set for deprecated versions";
            causes.push(Cause::invalid(
                format!("{field}.deprecationWarning"),
                &version["deprecationWarning"],
                detail,
            ));
        }
        let schema_field = format!("{field}.schema.openAPIV3Schema");
        match version["schema"].get("openAPIV3Schema") {
            None | Some(Value::Null) => causes.push(Cause::required(&schema_field, "")),
            Some(schema) => causes.extend(structural::validate(schema, &schema_field)),
        }
        subresource_causes(version, &field, causes);
        column_causes(version, &field, causes);
        selectable_causes(version, &field, causes);
    }
}

fn subresource_causes(version: &Value, field: &str, causes: &mut Vec<Cause>) {
    let Some(scale) = version["subresources"]
        .get("scale")
        .filter(|scale| scale.is_object())
    else {
        return;
    };
    let rules: [(&str, &[&str], bool); 3] = [
        ("specReplicasPath", &[".spec."], true),
        ("statusReplicasPath", &[".status."], true),
        ("labelSelectorPath", &[".spec.", ".status."], false),
    ];
    for (name, roots, required) in rules {
        let field = format!("{field}.subresources.scale.{name}");
        let path = text(&scale[name]);
        if path.is_empty() {
            if required {
                causes.push(Cause::required(field, ""));
            }
        } else if path.contains(['[', ']']) || !roots.iter().any(|root| path.starts_with(root)) {
            let roots: Vec<&str> = roots.iter().map(|root| root.trim_end_matches('.')).collect();
            let detail = format!("should be a json path under {}", roots.join(" or "));
            causes.push(Cause::invalid(field, &scale[name], &detail));
        }
    }
}

fn column_causes(version: &Value, field: &str, causes: &mut Vec<Cause>) {
    for (index, column) in version["additionalPrinterColumns"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let field = format!("{field}.additionalPrinterColumns[{index}]");
        if text(&column["name"]).is_empty() {
            causes.push(Cause::required(format!("{field}.name"), ""));
        }
        match text(&column["type"]) {
            "" => {
                let detail = "must be one of boolean,date,integer,number,string";
                causes.push(Cause::required(format!("{field}.type"), detail));
            }
            name if COLUMN_TYPES.contains(&name) => {}
            _ => {
                let detail = "must be one of boolean,date,integer,number,string";
                causes.push(Cause::invalid(format!("{field}.type"), &column["type"], detail));
            }
        }
        match text(&column["jsonPath"]) {
            "" => causes.push(Cause::required(format!("{field}.JSONPath"), "")),
            path => {
                if let Err(error) = JsonPath::parse(path) {
                    let detail = format!("is an invalid JSON path: {error}");
                    causes.push(Cause::invalid(
                        format!("{field}.JSONPath"),
                        &column["jsonPath"],
                        &detail,
                    ));
                }
            }
        }
    }
}

fn selectable_causes(version: &Value, field: &str, causes: &mut Vec<Cause>) {
    let declared = version["selectableFields"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if !declared.is_empty() && version["schema"]["openAPIV3Schema"].is_null() {
        let why = "may only be set when `version.schema.openAPIV3Schema` is not included";
        causes.push(Cause::invalid(format!("{field}.selectableFields"), "\"\"", why));
        return;
    }
    if declared.len() > SELECTABLE_FIELDS_MAX {
        causes.push(Cause::too_many(
            format!("{field}.selectableFields"),
            declared.len(),
            SELECTABLE_FIELDS_MAX,
        ));
    }
    for (index, selectable) in declared.iter().enumerate() {
        let path_field = format!("{field}.selectableFields[{index}].jsonPath");
        let path = text(&selectable["jsonPath"]);
        if declared[..index]
            .iter()
            .any(|earlier| earlier["jsonPath"] == selectable["jsonPath"])
        {
            causes.push(Cause::duplicate(&path_field, &selectable["jsonPath"]));
        }
        if path.is_empty() {
            causes.push(Cause::required(path_field, ""));
            continue;
        }
        let steps: Vec<&str> = path.trim_start_matches('.').split('.').collect();
        let schema = steps
            .iter()
            .fold(&version["schema"]["openAPIV3Schema"], |node, step| {
                &node["properties"][*step]
            });
        let detail = if !path.starts_with('.') || path.contains(['[', ']', '*']) {
            "is an invalid path: must be a simple path such as .spec.nodeName"
        } else if steps[0] == "metadata" {
            "must not point to fields in metadata"
        } else if schema.is_null() {
            "is an invalid path: does not refer to a valid field"
        } else if !matches!(text(&schema["type"]), "string" | "integer" | "boolean") {
            "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are \
             allowed."
        } else {
            continue;
        };
        causes.push(Cause::invalid(path_field, &selectable["jsonPath"], detail));
    }
}

fn approval_causes(definition: &Value, causes: &mut Vec<Cause>) {
    const ANNOTATION: &str = "api-approved.kubernetes.io";
    let group = text(&definition["spec"]["group"]);
    let protected = PROTECTED_GROUPS
        .iter()
        .any(|suffix| group == *suffix || group.ends_with(&format!(".{suffix}")));
    if protected && text(&definition["metadata"]["annotations"][ANNOTATION]).is_empty() {
        let detail = format!(
            "protected groups must have approval annotation \"{ANNOTATION}\", see \
             https://github.com/kubernetes/enhancements/pull/1111"
        );
        causes.push(Cause::required(
            format!("metadata.annotations[{ANNOTATION}]"),
            &detail,
        ));
    }
}

fn immutable_causes(spec: &Value, old: &Value, established: bool, causes: &mut Vec<Cause>) {
    let mut keep = |field: &str, new: &Value, old: &Value| {
        if new != old {
            causes.push(Cause::invalid(field, new, "field is immutable"));
        }
    };
    keep("spec.group", &spec["group"], &old["group"]);
    keep(
        "spec.names.plural",
        &spec["names"]["plural"],
        &old["names"]["plural"],
    );
    if established {
        keep("spec.scope", &spec["scope"], &old["scope"]);
        keep("spec.names.kind", &spec["names"]["kind"], &old["names"]["kind"]);
    }
}

fn established(definition: &Value) -> bool {
    let conditions = definition["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten();
    conditions
        .into_iter()
        .any(|one| one["type"] == "Established" && one["status"] == "True")
}
