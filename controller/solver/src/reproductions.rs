//! Published results and stated instances, solved again, each with its bound, its gap and what others report.
//!
//! Pure like the rest: a reproduction is given a clock and a memory gauge and hands out [`Row`]s. The benchmark
//! `reproductions` and `edgeloom bench solver` run and print them.
//!
//! To add one: write `fn name(run: &Run<'_>) -> Vec<Row>` in a file of its own below `reproductions/`, and one line in [`ALL`].

mod baselines;
mod caching;
pub mod helix;
mod joint;
mod mobility;
mod pipeline;
mod regions;
mod row;
mod simulated;
mod table;
pub mod trace;

pub use row::{Row, Seen};
pub use table::{header, line};

/// What the caller lends to a reproduction.
pub struct Run<'c> {
    /// Seconds since some moment.
    pub clock: &'c dyn Fn() -> f64,
    /// Bytes of memory that the process had at most since the reproduction began; none where that is not known.
    pub peak_memory: &'c dyn Fn() -> Option<u64>,
    /// Per cent of the usual search. Less is faster and finds less.
    pub work_percent: u64,
}

impl Run<'_> {
    /// As much of `steps` as is wanted.
    #[must_use]
    pub fn share(&self, steps: u64) -> u64 {
        steps * self.work_percent / 100
    }

    /// What `work` returns, and the seconds it took.
    pub fn timed<T>(&self, work: impl FnOnce() -> T) -> (T, f64) {
        let begin = (self.clock)();
        let done = work();
        (done, (self.clock)() - begin)
    }
}

/// Something that can be run and compared.
pub struct Reproduction {
    /// What a filter on the command line is matched with.
    pub name: &'static str,
    /// Runs it.
    pub run: fn(&Run<'_>) -> Vec<Row>,
}

/// Everything there is, in the order of the table. None leaves out a row because it is bad.
pub const ALL: &[Reproduction] = &[
    Reproduction {
        name: "helix single24 llama-70b max-flow",
        run: regions::single24_70b,
    },
    Reproduction {
        name: "helix single24 llama-30b max-flow",
        run: regions::single24_30b,
    },
    Reproduction {
        name: "helix regions3x8 llama-70b max-flow",
        run: regions::regions_70b,
    },
    Reproduction {
        name: "helix regions3x8 llama-30b max-flow",
        run: regions::regions_30b,
    },
    Reproduction {
        name: "helix calibration of the simulator",
        run: simulated::calibration,
    },
    Reproduction {
        name: "helix single24 llama-70b simulated",
        run: simulated::single24_70b,
    },
    Reproduction {
        name: "helix single24 llama-30b simulated",
        run: simulated::single24_30b,
    },
    Reproduction {
        name: "helix regions3x8 llama-70b simulated",
        run: simulated::regions_70b,
    },
    Reproduction {
        name: "helix regions3x8 llama-30b simulated",
        run: simulated::regions_30b,
    },
    Reproduction {
        name: "pipeline 10000 nodes 100 regions 80 layers",
        run: pipeline::large_deep,
    },
    Reproduction {
        name: "pipeline 10000 nodes 100 regions 32 layers",
        run: pipeline::large,
    },
    Reproduction {
        name: "pipeline 1000 nodes 10 regions 80 layers",
        run: pipeline::tenth_deep,
    },
    Reproduction {
        name: "pipeline 10000 nodes 1000 regions 80 layers",
        run: pipeline::sparse,
    },
    Reproduction {
        name: "pipeline change 10000 nodes 100 regions 80 layers",
        run: pipeline::changes_large,
    },
    Reproduction {
        name: "pipeline change 1000 nodes 10 regions 80 layers",
        run: pipeline::changes_tenth,
    },
    Reproduction {
        name: "joint tenth",
        run: joint::tenth,
    },
    Reproduction {
        name: "joint metro",
        run: joint::metro,
    },
    Reproduction {
        name: "mobility policies",
        run: mobility::policies,
    },
    Reproduction {
        name: "mobility fleets",
        run: mobility::fleets,
    },
    Reproduction {
        name: "caching survey gpt2",
        run: caching::survey,
    },
    Reproduction {
        name: "caching grid tenth",
        run: caching::tenth,
    },
    Reproduction {
        name: "caching grid scale",
        run: caching::scale,
    },
];

/// The rows of a user's own cluster, each made when it is asked for: maximum flow with its certificate, and throughput offline
/// in the simulator.
pub fn cluster_rows(
    run: &Run<'_>,
    name: &str,
    cluster: &crate::region::Cluster,
) -> impl Iterator<Item = Row> {
    let rows = [regions::flow_row, simulated::own_row];
    rows.into_iter().map(move |row| row(run, name, cluster))
}

/// Those whose name contains each word of `filter`.
pub fn matching(filter: &[String]) -> impl Iterator<Item = &'static Reproduction> {
    let words = filter.to_vec();
    ALL.iter()
        .filter(move |reproduction| words.iter().all(|word| reproduction.name.contains(word.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_takes_those_with_all_its_words() {
        let names = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            matching(&words).map(|found| found.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&[]).len(), ALL.len());
        assert!(
            names(&["single24", "70b"])
                .iter()
                .all(|name| name.contains("single24") && name.contains("70b"))
        );
        assert!(!names(&["single24", "70b"]).is_empty());
        assert!(names(&["no such thing"]).is_empty());
    }

    #[test]
    fn names_are_told_apart() {
        let mut names: Vec<_> = ALL.iter().map(|reproduction| reproduction.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
