//! Kubernetes quantities (`512Mi`, `20M`, `500m`) as numbers.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A Kubernetes quantity, kept as it was written so that reading and writing an object changes nothing.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Quantity(String);

/// Why a text is not a quantity.
#[derive(Debug, thiserror::Error, Eq, PartialEq)]
#[error("{0:?} is not a quantity; write a number with an optional suffix such as 512Mi, 20M or 500m")]
pub struct InvalidQuantity(pub String);

/// Suffix, and the number of thousandths that one of it is worth.
const SUFFIXES: [(&str, i128); 13] = [
    ("Ki", 1024 * 1000),
    ("Mi", 1024 * 1024 * 1000),
    ("Gi", 1024 * 1024 * 1024 * 1000),
    ("Ti", 1024 * 1024 * 1024 * 1024 * 1000),
    ("Pi", 1024 * 1024 * 1024 * 1024 * 1024 * 1000),
    ("m", 1),
    ("k", 1_000_000),
    ("M", 1_000_000_000),
    ("G", 1_000_000_000_000),
    ("T", 1_000_000_000_000_000),
    ("P", 1_000_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000_000),
    ("", 1000),
];

impl Quantity {
    /// A quantity of whole bytes.
    #[must_use]
    pub fn bytes(bytes: i64) -> Self {
        Self(bytes.to_string())
    }

    /// The value in whole units (bytes, bits per second), rounded up as Kubernetes does.
    #[must_use]
    pub fn value(&self) -> i64 {
        let thousandths = thousandths(&self.0).expect("a Quantity is parsed when it is made");
        i64::try_from(thousandths.div_euclid(1000) + i128::from(thousandths.rem_euclid(1000) != 0))
            .unwrap_or(i64::MAX)
    }

    /// The value in thousandths of a unit (millicores).
    #[must_use]
    pub fn milli(&self) -> i64 {
        i64::try_from(thousandths(&self.0).expect("a Quantity is parsed when it is made")).unwrap_or(i64::MAX)
    }
}

fn thousandths(text: &str) -> Option<i128> {
    let (number, factor) = SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)))
        .expect("the empty suffix always matches");
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || whole.is_empty() || whole.len() > 18 || fraction.len() > 9 {
        return None;
    }
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let numerator = format!("{whole}{fraction}")
        .parse::<i128>()
        .ok()?
        .checked_mul(factor)?;
    Some(numerator.div_euclid(scale) + i128::from(numerator.rem_euclid(scale) != 0))
}

impl FromStr for Quantity {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        thousandths(text)
            .map(|_| Self(text.to_owned()))
            .ok_or_else(|| InvalidQuantity(text.to_owned()))
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Quantity;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a quantity such as 512Mi, 20M or 500m")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Quantity, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Quantity, E> {
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "anyOf": [{ "type": "integer" }, { "type": "string" }],
            "pattern": r"^[0-9]{1,18}(\.[0-9]{1,9})?(Ki|Mi|Gi|Ti|Pi|m|k|M|G|T|P|E)?$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value_of(text: &str) -> i64 {
        text.parse::<Quantity>().unwrap().value()
    }

    #[test]
    fn binary_and_decimal_suffixes_are_powers_of_1024_and_1000() {
        assert_eq!(value_of("512Mi"), 512 << 20);
        assert_eq!(value_of("20M"), 20_000_000);
        assert_eq!(value_of("1.5Gi"), 3 << 29);
        assert_eq!(value_of("0"), 0);
    }

    #[test]
    fn thousandths_round_up_to_whole_units() {
        assert_eq!("500m".parse::<Quantity>().unwrap().milli(), 500);
        assert_eq!("1.25".parse::<Quantity>().unwrap().milli(), 1250);
        assert_eq!(value_of("500m"), 1);
    }

    #[test]
    fn a_text_that_is_no_quantity_is_refused_with_an_example() {
        for text in ["", "Mi", "-1", "1e3", "12 Mi", "1.2.3", "five"] {
            assert_eq!(text.parse::<Quantity>(), Err(InvalidQuantity(text.to_owned())));
        }
    }

    #[test]
    fn numbers_and_texts_are_both_read_and_the_text_is_kept() {
        let read: Vec<Quantity> = serde_json::from_str(r#"[1024, "1Ki"]"#).unwrap();
        assert_eq!(read[0].value(), read[1].value());
        assert_eq!(serde_json::to_string(&read).unwrap(), r#"["1024","1Ki"]"#);
    }
}
