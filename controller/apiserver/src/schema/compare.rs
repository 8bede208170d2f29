//! Which old value corresponds to which new one: the base of ratcheting and of CEL's `oldSelf`.

use serde_json::Value;

use super::{ListType, Schema};

/// The old counterpart of item `item` of a list, if items can be told apart: lists of type `map` by their keys. Items of
/// sets and atomic lists have none.
pub(crate) fn old_item<'old>(
    schema: &Schema,
    old_list: Option<&'old Value>,
    item: &Value,
) -> Option<&'old Value> {
    let ListType::Map(keys) = &schema.list_type else {
        return None;
    };
    old_list?
        .as_array()?
        .iter()
        .find(|old| same_keys(keys, old, item))
}

/// Whether two items of a list of type `map` are the same entry. An absent key equals an absent key.
pub(crate) fn same_keys(keys: &[String], left: &Value, right: &Value) -> bool {
    keys.iter().all(|key| left.get(key) == right.get(key))
}
