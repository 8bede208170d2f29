//! Who manages which fields: `metadata.managedFields`, read and written.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::set::FieldSet;

/// More managers by update than this are gathered under [`ANCIENT`].
const MOST_UPDATERS: usize = 10;
/// The manager of what managers of long ago have set.
const ANCIENT: &str = "ancient-changes";

/// How somebody came to manage fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// By server-side apply: what they apply is what they own.
    Apply,
    /// By any other write.
    Update,
}

/// Who manages fields. One manager is several if they write in several ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manager {
    /// The name, such as `kubectl`.
    pub name: String,
    /// The way of writing.
    pub operation: Operation,
    /// The version that they wrote, such as `apps/v1`.
    pub api_version: String,
    /// The subresource that they wrote to; empty for the object itself.
    pub subresource: String,
}

impl Manager {
    /// Whether both are the same manager: those who apply stay the same when they go to another version.
    pub fn is(&self, other: &Self) -> bool {
        self.name == other.name
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }
}

/// A manager with their fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Who.
    pub manager: Manager,
    /// Which fields.
    pub fields: FieldSet,
    /// When they last changed them, to the second; a manager who applied what was there already has no time.
    pub time: Option<Timestamp>,
}

/// All managers of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Managers(pub Vec<Entry>);

impl Managers {
    /// Reads `metadata.managedFields`; `None` when it is not what it should be.
    pub fn of_value(value: &Value) -> Option<Self> {
        let entries = match value {
            Value::Null => return Some(Self::default()),
            Value::Array(entries) => entries,
            _ => return None,
        };
        let mut managers = Self::default();
        for entry in entries {
            let entry = decoded(entry)?;
            match managers.position(&entry.manager) {
                Some(place) => managers.0[place] = entry,
                None => managers.0.push(entry),
            }
        }
        Some(managers)
    }

    /// `metadata.managedFields`; `None` when nobody manages anything.
    pub fn to_value(&self) -> Option<Value> {
        let mut entries: Vec<&Entry> = self.0.iter().collect();
        entries.sort_by(|left, right| {
            let key = |entry: &Entry| {
                (
                    entry.manager.operation,
                    entry.time.map_or(0, Timestamp::as_second),
                )
            };
            let names = |entry: &Entry| {
                let Manager {
                    name,
                    api_version,
                    subresource,
                    ..
                } = &entry.manager;
                (name.clone(), api_version.clone(), subresource.clone())
            };
            key(left)
                .cmp(&key(right))
                .then_with(|| names(left).cmp(&names(right)))
        });
        (!entries.is_empty()).then(|| entries.into_iter().map(encoded).collect())
    }

    /// The place of a manager's entry.
    pub fn position(&self, manager: &Manager) -> Option<usize> {
        self.0.iter().position(|entry| entry.manager.is(manager))
    }

    /// The fields of a manager.
    pub fn fields_of(&self, manager: &Manager) -> Option<&FieldSet> {
        self.position(manager).map(|place| &self.0[place].fields)
    }

    /// Takes a manager's entry out.
    pub fn take(&mut self, manager: &Manager) -> Option<Entry> {
        self.position(manager).map(|place| self.0.remove(place))
    }

    /// Drops managers of nothing.
    pub fn forget_empty(&mut self) {
        self.0.retain(|entry| !entry.fields.is_empty());
    }

    /// Gathers the oldest managers by update, version by version, until there are no more than Kubernetes keeps.
    pub fn cap(&mut self) {
        let is_updater = |entry: &&Entry| entry.manager.operation == Operation::Update;
        let mut oldest: Vec<Manager> = self
            .0
            .iter()
            .filter(is_updater)
            .map(|entry| entry.manager.clone())
            .collect();
        let mut count = oldest.len();
        if count <= MOST_UPDATERS {
            return;
        }
        let time = |manager: &Manager| self.position(manager).and_then(|place| self.0[place].time);
        oldest.sort_by_cached_key(|manager| {
            let Manager {
                name,
                api_version,
                subresource,
                ..
            } = manager;
            let seconds = time(manager).map_or(0, Timestamp::as_second);
            (seconds, name.clone(), api_version.clone(), subresource.clone())
        });
        let mut first_of_version: Vec<Manager> = Vec::new();
        for manager in oldest {
            if count <= MOST_UPDATERS {
                break;
            }
            let same_version = |one: &&Manager| one.api_version == manager.api_version;
            match first_of_version.iter().find(same_version).cloned() {
                None => first_of_version.push(manager),
                Some(first) => {
                    self.gather(&first, &manager);
                    count -= 1;
                }
            }
        }
    }

    /// Puts the fields of `manager`, and of `first` if that has not been done, under the name for managers of long ago.
    fn gather(&mut self, first: &Manager, manager: &Manager) {
        let bucket = Manager {
            name: ANCIENT.to_owned(),
            operation: Operation::Update,
            api_version: manager.api_version.clone(),
            subresource: String::new(),
        };
        let mut gathered = match self.take(&bucket) {
            Some(entry) => entry.fields,
            None => self.take(first).map(|entry| entry.fields).unwrap_or_default(),
        };
        let mut time = None;
        if let Some(entry) = self.take(manager) {
            gathered = gathered.union(&entry.fields);
            time = entry.time;
        }
        self.0.push(Entry {
            manager: bucket,
            fields: gathered,
            time,
        });
    }
}

fn decoded(entry: &Value) -> Option<Entry> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
    let operation = match text("operation") {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return None,
    };
    if text("apiVersion").is_empty() || text("fieldsType") != "FieldsV1" {
        return None;
    }
    let fields = match entry.get("fieldsV1") {
        None | Some(Value::Null) => FieldSet::default(),
        Some(fields) => FieldSet::of_value(fields)?,
    };
    Some(Entry {
        manager: Manager {
            name: text("manager").to_owned(),
            operation,
            api_version: text("apiVersion").to_owned(),
            subresource: text("subresource").to_owned(),
        },
        fields,
        time: text("time").parse().ok(),
    })
}

fn encoded(entry: &Entry) -> Value {
    let Entry {
        manager,
        fields,
        time,
    } = entry;
    let mut encoded = json!({
        "manager": manager.name,
        "operation": match manager.operation {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        },
        "apiVersion": manager.api_version,
    });
    if let Some(time) = time {
        encoded["time"] = time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
    }
    encoded["fieldsType"] = "FieldsV1".into();
    encoded["fieldsV1"] = fields.to_value();
    if !manager.subresource.is_empty() {
        encoded["subresource"] = manager.subresource.clone().into();
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, operation: Operation, api_version: &str, second: i64, field: &str) -> Entry {
        Entry {
            manager: Manager {
                name: name.to_owned(),
                operation,
                api_version: api_version.to_owned(),
                subresource: String::new(),
            },
            fields: [&[field][..]].into_iter().collect(),
            time: Timestamp::from_second(second).ok(),
        }
    }

    #[test]
    fn entries_stand_in_kubernetes_order_and_are_read_again() {
        let managers = Managers(vec![
            entry("b", Operation::Update, "v1", 5, "x"),
            entry("a", Operation::Update, "v1", 5, "y"),
            entry("z", Operation::Apply, "v1", 9, "z"),
            entry("c", Operation::Update, "v1", 1, "w"),
        ]);
        let value = managers.to_value().expect("it has entries");
        let names: Vec<&str> = value
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|entry| entry["manager"].as_str())
            .collect();
        assert_eq!(names, ["z", "c", "a", "b"]);
        assert_eq!(
            value[0],
            json!({
                "manager": "z", "operation": "Apply", "apiVersion": "v1", "time": "1970-01-01T00:00:09Z",
                "fieldsType": "FieldsV1", "fieldsV1": {"f:z": {}},
            })
        );
        let again = Managers::of_value(&value).expect("it is what was written");
        assert_eq!(again.to_value(), Some(value));
        for wrong in [
            json!({}),
            json!([{}]),
            json!([{"manager": "a", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV2"}]),
        ] {
            assert_eq!(Managers::of_value(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_oldest_updaters_are_gathered_by_version_beyond_ten() {
        let mut managers = Managers::default();
        for number in 0..13 {
            let version = if number == 1 { "v2" } else { "v1" };
            managers.0.push(entry(
                &format!("m{number:02}"),
                Operation::Update,
                version,
                number,
                &format!("f{number}"),
            ));
        }
        managers.0.push(entry("applier", Operation::Apply, "v1", 0, "a"));
        managers.cap();
        let updaters: Vec<&Entry> = managers
            .0
            .iter()
            .filter(|entry| entry.manager.operation == Operation::Update)
            .collect();
        assert_eq!(updaters.len(), MOST_UPDATERS);
        let ancient = updaters
            .iter()
            .find(|entry| entry.manager.name == ANCIENT)
            .expect("some are gathered");
        assert_eq!(
            ancient.fields.to_value(),
            json!({"f:f0": {}, "f:f2": {}, "f:f3": {}, "f:f4": {}})
        );
        assert_eq!(ancient.time.map(Timestamp::as_second), Some(4));
        assert!(updaters.iter().any(|entry| entry.manager.api_version == "v2"));
    }
}
