//! What an API server would refuse, and what it would take and the controller then report as a condition: offline there is
//! nobody to say so later.

use std::collections::BTreeSet;

use crds::EdgeLink;
use kube::ResourceExt;
use serde_json::Value;

use crate::{status::loose_end, world::World};

/// Objects by kind, namespace and name.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeSet<[String; 3]>);

impl Names {
    /// Takes in the name of another object.
    pub(super) fn add(&mut self, object: &Value) -> Result<(), String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, metadata) = (text(&object["kind"]), &object["metadata"]);
        let name = text(&metadata["name"]);
        if !is_name(&name) {
            return Err(format!(
                "{kind}: metadata.name is {name:?}, where at most 253 lower-case letters, digits, '-' and '.' are expected, a \
                 letter or digit first and last"
            ));
        }
        let said = format!("{kind} {name} is written twice: give one of them another metadata.name");
        let new = self.0.insert([kind, text(&metadata["namespace"]), name]);
        new.then_some(()).ok_or(said)
    }
}

/// RFC 1123, as Kubernetes has it for names.
fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let inner = part.bytes().all(|byte| letter(byte) || byte == b'-');
        let (first, last) = (part.bytes().next(), part.bytes().last());
        inner && first.is_some_and(letter) && last.is_some_and(letter)
    };
    name.len() <= 253 && name.split('.').all(part)
}

/// The first link that joins nothing or carries nothing.
pub(super) fn links(world: &World) -> Result<(), String> {
    let nodes: BTreeSet<String> = world.nodes.iter().map(|node| node.name_any()).collect();
    world.links.iter().try_for_each(|link| {
        let wrong = wrong_with(link, &nodes);
        wrong.map_or(Ok(()), |wrong| {
            Err(format!("EdgeLink {}: {wrong}", link.name_any()))
        })
    })
}

fn wrong_with(link: &EdgeLink, nodes: &BTreeSet<String>) -> Option<String> {
    let spec = &link.spec;
    if spec.from == spec.to {
        return Some(format!(
            "spec.from and spec.to are both {}; a link joins two nodes",
            spec.from
        ));
    }
    if let Some(loose) = loose_end(link, nodes) {
        let known: Vec<&str> = nodes.iter().take(16).map(String::as_str).collect();
        return Some(format!("{loose}; there are {}", known.join(", ")));
    }
    let back = spec.reverse_rate_bits_per_second.as_ref();
    let rates = [
        ("rateBitsPerSecond", Some(&spec.rate_bits_per_second)),
        ("reverseRateBitsPerSecond", back),
    ];
    let idle = rates
        .into_iter()
        .find(|(_, rate)| rate.is_some_and(|rate| rate.value() <= 0));
    idle.map(|(field, _)| {
        format!("spec.{field} is not above zero; bits per second are expected, such as 20M")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Error, whole, world_from};
    use crate::world::World;

    fn world(objects: Vec<serde_json::Value>) -> Result<World, Error> {
        let named = objects.into_iter().map(|object| ("f.yaml".to_owned(), object));
        whole(world_from(named.collect())?)
    }

    fn node(name: &str) -> serde_json::Value {
        json!({"apiVersion": "edgeloom.dev/v1alpha1", "kind": "EdgeNode", "metadata": {"name": name}, "spec": {}})
    }

    fn link(from: &str, to: &str, rate: &str) -> serde_json::Value {
        json!({
            "apiVersion": "edgeloom.dev/v1alpha1", "kind": "EdgeLink", "metadata": {"name": "l"},
            "spec": {"from": from, "to": to, "rateBitsPerSecond": rate},
        })
    }

    #[test]
    fn what_means_nothing_is_refused_with_the_field_and_what_would_be_right() {
        let cases = [
            (vec![node("a"), node("a")], "EdgeNode a is written twice"),
            (vec![node("Base Station!")], "metadata.name is \"Base Station!\""),
            (vec![node("a-")], "metadata.name"),
            (
                vec![node("a"), node("b"), link("a", "bb", "1M")],
                "spec.to is \"bb\"",
            ),
            (vec![node("a"), link("a", "a", "1M")], "both a"),
            (
                vec![node("a"), node("b"), link("a", "b", "0")],
                "spec.rateBitsPerSecond is not above zero",
            ),
        ];
        for (objects, words) in cases {
            let said = world(objects).expect_err(words).to_string();
            assert!(said.contains(words), "{said}");
        }
        let good = vec![node("a"), node("b.c-1"), link("a", "b.c-1", "20M")];
        assert_eq!(world(good).expect("a good world").links.len(), 1);
    }
}
