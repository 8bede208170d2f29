//! The Grafana dashboards as files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use serde_json::Value;
use tests::up::repository;

/// Every dashboard, by its file's name.
pub(super) fn all() -> BTreeMap<String, Value> {
    let folder = repository().join("charts/edgeloom/files/dashboards");
    let entries = fs::read_dir(folder).expect("the chart has dashboards");
    entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let text = fs::read_to_string(&path).expect("a dashboard can be read");
            let name = path.file_name().expect("a file has a name");
            (
                name.to_string_lossy().into_owned(),
                serde_json::from_str(&text).expect("a dashboard is JSON"),
            )
        })
        .collect()
}

pub(super) fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value[key].as_array().into_iter().flatten()
}

#[test]
fn the_chart_ships_what_their_source_says() {
    let fresh = tempfile::tempdir().expect("a temporary folder");
    let status = Command::new("python3")
        .arg("-B")
        .arg(repository().join("charts/dashboards"))
        .arg(fresh.path())
        .status();
    assert!(status.expect("python3 runs").success());
    let shipped = repository().join("charts/edgeloom/files/dashboards");
    let names = |folder| -> BTreeSet<_> {
        let entries = fs::read_dir(folder).expect("a folder can be listed");
        entries
            .map(|entry| entry.expect("an entry").file_name())
            .collect()
    };
    assert_eq!(names(fresh.path()), names(&shipped));
    for name in names(&shipped) {
        assert!(
            fs::read(fresh.path().join(&name)).ok() == fs::read(shipped.join(&name)).ok(),
            "{name:?} has drifted from charts/dashboards: run `make generate`"
        );
    }
}

#[test]
fn each_panel_says_what_it_shows_in_which_unit_and_overlaps_no_other() {
    let mut uids = BTreeSet::new();
    for (file, dashboard) in all() {
        assert!(
            uids.insert(dashboard["uid"].to_string()),
            "{file}: its uid is another's"
        );
        assert!(
            dashboard["tags"] == serde_json::json!(["edgeloom"]),
            "{file} has no tag"
        );
        let mut taken = BTreeSet::new();
        for panel in list(&dashboard, "panels") {
            let title = &panel["title"];
            for text in [
                title,
                &panel["description"],
                &panel["fieldConfig"]["defaults"]["unit"],
            ] {
                assert!(
                    text.as_str().is_some_and(|text| !text.is_empty()),
                    "{file}: {title}"
                );
            }
            assert!(
                list(panel, "targets").next().is_some(),
                "{file}: {title} asks nothing"
            );
            let [x, y, w, h] =
                ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().expect("a place"));
            assert!(x + w <= 24, "{file}: {title} is beyond the edge");
            for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(taken.insert(place), "{file}: {title} covers another panel");
            }
        }
    }
    assert_eq!(uids.len(), 6);
}
