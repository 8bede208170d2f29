//! Tables and metadata-only objects from the wire form of objects.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::column::Column;
use super::duration;
use crate::kinds::Resource;

/// How much of each object a row carries, from the query parameter `includeObject`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IncludeObject {
    /// Nothing: `row.object` is null.
    None,
    /// `PartialObjectMetadata`.
    #[default]
    Metadata,
    /// The whole object.
    Object,
}

impl IncludeObject {
    /// Reads the query parameter; `None` when it is not one of the three. An empty value is the default.
    pub fn parse(value: &str) -> Option<Self> {
        match value {
            "None" => Some(Self::None),
            "" | "Metadata" => Some(Self::Metadata),
            "Object" => Some(Self::Object),
            _ => None,
        }
    }
}

/// A `meta.k8s.io/v1 Table` of `objects` in their wire form.
///
/// `list_metadata` is the `metadata` of the list (resourceVersion, continue, remainingItemCount), or of the single object.
/// `with_columns` is false for all events of a watch but the first: their `columnDefinitions` is null.
pub fn table(
    resource: &Resource,
    objects: &[Value],
    list_metadata: &Value,
    include: IncludeObject,
    with_columns: bool,
    now: Timestamp,
) -> Value {
    let age = age_column();
    let columns: Vec<&Column> = if resource.columns.is_empty() {
        vec![&age]
    } else {
        resource.columns.iter().collect()
    };
    // Events are read by time, not by name: a resource that has a Name column of its own has none put before it.
    let name = name_column();
    let columns: Vec<&Column> = if columns.iter().any(|column| column.name == name.name) {
        columns
    } else {
        std::iter::once(&name).chain(columns).collect()
    };
    let definitions = if with_columns {
        columns.iter().map(|column| column.definition()).collect()
    } else {
        Value::Null
    };
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| row(&columns, object, include, now))
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": table_metadata(list_metadata),
        "columnDefinitions": definitions,
        "rows": rows,
    })
}

/// The `PartialObjectMetadata` of an object.
pub fn partial_metadata(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object["metadata"],
    })
}

/// The `PartialObjectMetadataList` of a list in its wire form.
pub fn partial_metadata_list(list: &Value) -> Value {
    let items: Vec<Value> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(partial_metadata)
        .collect();
    json!({
        "kind": "PartialObjectMetadataList",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": list["metadata"],
        "items": items,
    })
}

/// The column that is shown when a resource has none of its own.
fn age_column() -> Column {
    Column {
        value_type: "date".to_owned(),
        ..Column::computed("Age", "Time since the object was created.", age)
    }
}

/// The age of an object as a cell, by its creation.
pub(super) fn age(object: &Value, now: Timestamp) -> Value {
    let created = object["metadata"]["creationTimestamp"]
        .as_str()
        .and_then(|text| text.parse::<Timestamp>().ok());
    Value::from(created.map_or_else(|| "<unknown>".to_owned(), |created| duration::since(created, now)))
}

fn name_column() -> Column {
    let name = |object: &Value, _| object["metadata"]["name"].clone();
    Column {
        format: "name".to_owned(),
        ..Column::computed("Name", "Name must be unique within a namespace.", name)
    }
}

/// Of a single object's metadata, only what a list's has.
fn table_metadata(metadata: &Value) -> Value {
    let kept = ["resourceVersion", "continue", "remainingItemCount"];
    let fields = kept
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), metadata.get(*name)?.clone())));
    Value::Object(fields.collect::<Map<_, _>>())
}

fn row(columns: &[&Column], object: &Value, include: IncludeObject, now: Timestamp) -> Value {
    let cells: Vec<Value> = columns.iter().map(|column| column.cell(object, now)).collect();
    let object = match include {
        IncludeObject::None => Value::Null,
        IncludeObject::Metadata => partial_metadata(object),
        IncludeObject::Object => object.clone(),
    };
    json!({"cells": cells, "object": object})
}
