//! Figures on disk, and as the kinds write them.

use std::{fs, path::Path};

use crds::edge_node::{Benchmark, BenchmarkPoint};
use engine::BenchmarkKey;
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use serde::{Deserialize, Serialize};

use crate::keep;

/// A table as it is kept on disk.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Kept {
    /// What the device was when it was timed; another share makes other figures.
    pub(super) cores_milli: i64,
    pub(super) measured_at: i64,
    pub(super) benchmark: engine::Benchmark,
}

/// What is kept there, if it is whole.
pub(super) fn read(path: &Path) -> Option<Kept> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Keeps them.
pub(super) fn write(path: &Path, kept: &Kept) -> Result<(), keep::Error> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|source| keep::Error::File {
            path: folder.to_owned(),
            source,
        })?;
    }
    let bytes = serde_json::to_vec(kept).expect("plain values are JSON");
    keep::replace(path, &bytes)
}

/// The engine's figures as the kinds write them.
pub(super) fn to_kind(digest: &str, kept: &Kept) -> Benchmark {
    let Kept {
        benchmark,
        measured_at,
        ..
    } = kept;
    let BenchmarkKey {
        engine, quantisation, ..
    } = &benchmark.key;
    let nanoseconds = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let points = benchmark.points.iter().map(|point| BenchmarkPoint {
        rows: i32::try_from(point.rows).unwrap_or(i32::MAX),
        layer_nanoseconds: nanoseconds(point.layer_ns),
        head_nanoseconds: point.head_ns.map_or(0, nanoseconds),
        prompt_end_nanoseconds: Some(nanoseconds(point.prompt_end_ns)),
        history_nanoseconds: Some(nanoseconds(point.history_ns)),
    });
    let largest = benchmark.points.last();
    Benchmark {
        model: digest.to_owned(),
        quantisation: quantisation.clone(),
        engine_version: engine.clone(),
        points: points.collect(),
        embedding_nanoseconds_per_row: largest.map_or(0, |point| {
            nanoseconds(point.embedding_ns / u64::from(point.rows.max(1)))
        }),
        batch_overhead_nanoseconds: nanoseconds(benchmark.batch_overhead_ns),
        observed_time: Timestamp::from_second(*measured_at).ok().map(Time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_figures_become_the_kinds_figures() {
        let kept = Kept {
            cores_milli: 500,
            measured_at: 1_000,
            benchmark: engine::Benchmark {
                key: BenchmarkKey {
                    engine: "e".to_owned(),
                    processor: "p".to_owned(),
                    quantisation: "Q4_1".to_owned(),
                    shape: "s".to_owned(),
                    threads: 1,
                    share_millicores: 500,
                },
                points: vec![
                    engine::BenchmarkPoint {
                        rows: 1,
                        layer_ns: 10,
                        head_ns: Some(30),
                        prompt_end_ns: 40,
                        history_ns: 5,
                        embedding_ns: 2,
                    },
                    engine::BenchmarkPoint {
                        rows: 4,
                        layer_ns: 20,
                        head_ns: None,
                        prompt_end_ns: 45,
                        history_ns: 6,
                        embedding_ns: 8,
                    },
                ],
                batch_overhead_ns: 7,
            },
        };
        let figures = to_kind("sha256:1", &kept);
        assert_eq!(
            figures.points[0],
            BenchmarkPoint {
                rows: 1,
                layer_nanoseconds: 10,
                head_nanoseconds: 30,
                prompt_end_nanoseconds: Some(40),
                history_nanoseconds: Some(5),
            }
        );
        assert_eq!(
            figures.points[1].head_nanoseconds, 0,
            "what was not measured is not scaled from what was"
        );
        assert_eq!(figures.embedding_nanoseconds_per_row, 2);
        assert_eq!(figures.batch_overhead_nanoseconds, 7);
    }
}
