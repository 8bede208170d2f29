//! The files of one model: times of a layer, limits and typical layers by type of node, and layouts.
//!
//! | path below the model's folder | lines |
//! | --- | --- |
//! | `TYPE/prompt_bs2time.csv` | prompt tokens in a batch, milliseconds of a layer |
//! | `TYPE/decode_bs2time.csv` | sequences in a batch, milliseconds of a layer |
//! | `TYPE/limits.csv` | header; layers, blocks of 16 tokens of keys and values, prompts and sequences in a batch |
//! | `typical.csv` | header; type, layers, layers where memory is tight, layers per second |
//!
//! `TYPE` is the type of the cluster's file in lower case. The last two files may be missing for the types that Helix
//! measured: theirs are built in.

use std::collections::BTreeMap;

use super::{Error, Model, embedded};
use crate::region::capacity::Typical;
use crate::region::{LayerTimes, Layout, Limits, Times};

/// Tokens in a block of keys and values.
const BLOCK_TOKENS: f64 = 16.0;

/// Texts of files, by their paths below the model's folder, with `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelFiles(pub BTreeMap<String, String>);

/// What was measured of one type of node.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Times of a layer.
    pub times: LayerTimes,
    /// Limits by layers.
    pub limits: Vec<Limits>,
    /// What nodes of this type usually hold.
    pub typical: Typical,
}

impl ModelFiles {
    /// What was measured of a type.
    ///
    /// # Errors
    /// When a file is missing or a line of it is wrong.
    pub fn measured(&self, type_name: &str, model: Model) -> Result<Measured, Error> {
        let folder = type_name.to_lowercase();
        let times = LayerTimes {
            prompt: self.times(&format!("{folder}/prompt_bs2time.csv"), model)?,
            decode: self.times(&format!("{folder}/decode_bs2time.csv"), model)?,
        };
        let limits = self.limits(&format!("{folder}/limits.csv"), model)?;
        let typical = self.typical(&folder, &limits, model)?;
        Ok(Measured {
            times,
            limits,
            typical,
        })
    }

    fn own_or_embedded(&self, path: &str, model: Model) -> Option<&str> {
        let own = self.0.get(path).map(String::as_str);
        own.or_else(|| embedded::text(model.folder, path))
    }

    fn times(&self, path: &str, model: Model) -> Result<Times, Error> {
        let place = format!("{}/{path}", model.folder);
        let text = self.0.get(path).ok_or_else(|| {
            Error::new(
                place.clone(),
                "is missing: lines of a batch size and the milliseconds of one layer",
            )
        })?;
        let mut pairs = Vec::new();
        for (at, fields) in lines(&place, text, 2)? {
            pairs.push((number(&at, fields[0])?, number(&at, fields[1])? / 1_000.0));
        }
        Times::new(&pairs).map_err(|expected| Error::new(place, format!("needs {expected}")))
    }

    fn limits(&self, path: &str, model: Model) -> Result<Vec<Limits>, Error> {
        let place = format!("{}/{path}", model.folder);
        let text = self.own_or_embedded(path, model).ok_or_else(|| {
            let problem = "is missing, and the type is not one that is built in: a header, then lines of \
                layers (from 1), blocks of 16 tokens of keys and values, prompts and sequences in a batch";
            Error::new(place.clone(), problem)
        })?;
        let mut limits = Vec::new();
        for (at, fields) in lines(&place, text, 4)?.into_iter().skip(1) {
            if whole(&at, fields[0])? != limits.len() + 1 {
                return Err(Error::new(
                    at,
                    format!("expected the line of {} layers", limits.len() + 1),
                ));
            }
            let limit = Limits {
                kv_tokens: number(&at, fields[1])? * BLOCK_TOKENS,
                prompts_max: whole(&at, fields[2])?,
                sequences_max: whole(&at, fields[3])?,
            };
            if limit.kv_tokens <= 0.0 || limit.prompts_max == 0 || limit.sequences_max == 0 {
                return Err(Error::new(at, "expected figures above 0"));
            }
            limits.push(limit);
        }
        limits.truncate(model.num_layers);
        if limits.is_empty() {
            Err(Error::new(place, "has no line after its header"))
        } else {
            Ok(limits)
        }
    }

    fn typical(&self, folder: &str, limits: &[Limits], model: Model) -> Result<Typical, Error> {
        let place = format!("{}/typical.csv", model.folder);
        let most = limits.len();
        if let Some(text) = self.own_or_embedded("typical.csv", model) {
            for (at, fields) in lines(&place, text, 4)?.into_iter().skip(1) {
                if fields[0] == folder {
                    let typical = Typical {
                        layers: whole(&at, fields[1])?,
                        layers_when_tight: whole(&at, fields[2])?,
                        layers_per_second: number(&at, fields[3])?,
                    };
                    let sound = typical.layers > 0
                        && typical.layers_when_tight > 0
                        && typical.layers_per_second > 0.0;
                    return if sound {
                        Ok(typical)
                    } else {
                        Err(Error::new(at, "expected figures above 0"))
                    };
                }
            }
        }
        Ok(Typical {
            layers: (most * 2 / 3).max(1),
            layers_when_tight: most,
            layers_per_second: 20.0,
        })
    }
}

/// Reads a layout: a header, then lines of a node and the first layer and the one after the last that it holds.
///
/// # Errors
/// When a line is wrong.
pub fn layout(place: &str, text: &str, num_nodes: usize) -> Result<Layout, Error> {
    let mut ranges = vec![0..0; num_nodes];
    for (at, fields) in lines(place, text, 3)?.into_iter().skip(1) {
        let (node, first, end) = (
            whole(&at, fields[0])?,
            whole(&at, fields[1])?,
            whole(&at, fields[2])?,
        );
        let range = ranges
            .get_mut(node)
            .ok_or_else(|| Error::new(at.clone(), format!("node {node} is not below {num_nodes}")))?;
        if first >= end {
            return Err(Error::new(at, format!("layer {first} is not before {end}")));
        }
        *range = first..end;
    }
    Ok(Layout(ranges))
}

/// Lines that are not empty, each with its place and so many fields.
pub(in crate::reproductions) fn lines<'t>(
    place: &str,
    text: &'t str,
    num_fields: usize,
) -> Result<Vec<(String, Vec<&'t str>)>, Error> {
    let mut lines = Vec::new();
    for (index, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let at = format!("{place}, line {}", index + 1);
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        if fields.len() != num_fields {
            return Err(Error::new(
                at,
                format!("{} fields with commas, expected {num_fields}", fields.len()),
            ));
        }
        lines.push((at, fields));
    }
    Ok(lines)
}

pub(in crate::reproductions) fn number(at: &str, text: &str) -> Result<f64, Error> {
    let parsed: Option<f64> = text
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite() && *number >= 0.0);
    parsed.ok_or_else(|| Error::new(at, format!("{text:?} is not a number of 0 or above")))
}

pub(in crate::reproductions) fn whole(at: &str, text: &str) -> Result<usize, Error> {
    text.parse()
        .map_err(|_| Error::new(at, format!("{text:?} is not a whole number")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reproductions::helix;

    fn files(pairs: &[(&str, &str)]) -> ModelFiles {
        let owned = pairs
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        ModelFiles(owned.collect())
    }

    fn error(pairs: &[(&str, &str)], kind: &str) -> String {
        let model = helix::model("llama-70b").expect("known");
        files(pairs)
            .measured(kind, model)
            .expect_err("a bad file")
            .to_string()
    }

    const PROMPT: (&str, &str) = ("h9/prompt_bs2time.csv", "0,0\n250,2\n");
    const DECODE: (&str, &str) = ("h9/decode_bs2time.csv", "0,0\n2,1\n");

    #[test]
    fn a_type_of_the_users_own_needs_its_times_and_limits() {
        assert!(error(&[], "H9").contains("h9/prompt_bs2time.csv: is missing"));
        assert!(error(&[PROMPT], "H9").contains("h9/decode_bs2time.csv: is missing"));
        assert!(
            error(&[PROMPT, DECODE], "H9").contains("h9/limits.csv: is missing, and the type is not one")
        );
        let limits = (
            "h9/limits.csv",
            "layers,kv_blocks,prompts_max,sequences_max\n1,10,1,2\n2,5,1,2\n",
        );
        let model = helix::model("llama-70b").expect("known");
        let measured = files(&[PROMPT, DECODE, limits])
            .measured("H9", model)
            .expect("good files");
        assert_eq!(measured.limits.len(), 2);
        assert_eq!(measured.limits[1].kv_tokens, 80.0);
        assert_eq!(measured.typical.layers_when_tight, 2);
    }

    #[test]
    fn wrong_lines_are_named() {
        let bad = |text| error(&[PROMPT, ("h9/decode_bs2time.csv", text)], "H9");
        assert!(bad("0,0\n2\n").contains("decode_bs2time.csv, line 2: 1 fields"));
        assert!(bad("0,0\n2,fast\n").contains("line 2: \"fast\" is not a number"));
        assert!(bad("2,1\n2,1\n").contains("sizes that grow"));
        let limits = |text| error(&[PROMPT, DECODE, ("h9/limits.csv", text)], "H9");
        assert!(limits("layers,b,p,s\n2,5,1,2\n").contains("line 2: expected the line of 1 layers"));
        assert!(limits("layers,b,p,s\n1,5,0,2\n").contains("figures above 0"));
        assert!(limits("layers,b,p,s\n").contains("no line after its header"));
    }

    #[test]
    fn a_layout_is_read() {
        let read = |text: &str| layout("l.csv", text, 2);
        let header = "node,first_layer,end_layer\n";
        assert_eq!(
            read("node,first_layer,end_layer\n1,0,4\n").expect("good").0,
            [0..0, 0..4]
        );
        for (line, expected) in [
            ("2,0,4", "not below 2"),
            ("1,4,4", "not before"),
            ("1,0", "2 fields"),
        ] {
            let error = read(&format!("{header}{line}\n")).expect_err(line).to_string();
            assert!(
                error.contains("l.csv, line 2") && error.contains(expected),
                "{error}"
            );
        }
    }
}
