//! Whether a request kept what its service promises. Pure: times and outcome in, verdicts out.
//!
//! Failures count, so that a service which answers nobody does not look fast. What is the client's own doing counts
//! neither for the service nor against it.

use std::time::Duration;

use crate::{backend::Objective, metrics::CLIENT_GONE};

/// What a promise is about, as the label `objective` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Promise {
    /// The request was answered, and its answer did not break off. Every service promises it.
    Availability,
    /// The first token came in time.
    TimeToFirstToken,
    /// The later tokens came fast enough, on average.
    TimePerOutputToken,
}

impl Promise {
    /// The label's value.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Availability => "availability",
            Self::TimeToFirstToken => "time_to_first_token",
            Self::TimePerOutputToken => "time_per_output_token",
        }
    }

    /// What a service with this objective promises.
    pub(crate) fn all(objective: &Objective) -> impl Iterator<Item = Self> {
        let first = objective.time_to_first_token.map(|_| Self::TimeToFirstToken);
        let later = objective.time_per_output_token.map(|_| Self::TimePerOutputToken);
        [Some(Self::Availability), first, later].into_iter().flatten()
    }
}

/// How a request went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Course {
    /// The HTTP status that its outcome deserves.
    pub(crate) code: u16,
    /// From its arrival to its end.
    pub(crate) duration: Duration,
    /// From its arrival to its first token, if there was one.
    pub(crate) first_token: Option<Duration>,
    /// Mean time between tokens, if there were several.
    pub(crate) per_token: Option<Duration>,
}

/// Whether the promise was kept; `None` when this request says nothing about it.
pub(crate) fn kept(promise: Promise, objective: &Objective, course: &Course) -> Option<bool> {
    let failed = course.code >= 500;
    match promise {
        Promise::Availability => (failed || course.code < 400).then_some(!failed),
        Promise::TimeToFirstToken => {
            let limit = objective.time_to_first_token?;
            match course.first_token {
                Some(first_token) => Some(first_token <= limit),
                // Who left after the promised time has seen it broken.
                None if course.code == CLIENT_GONE => (course.duration > limit).then_some(false),
                None => failed.then_some(false),
            }
        }
        Promise::TimePerOutputToken => {
            let limit = objective.time_per_output_token?;
            match course.per_token {
                _ if failed => Some(false),
                Some(per_token) => Some(per_token <= limit),
                None => None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECTIVE: Objective = Objective {
        time_to_first_token: Some(Duration::from_millis(500)),
        time_per_output_token: Some(Duration::from_millis(50)),
    };

    fn course(code: u16, first_token: Option<u64>, per_token: Option<u64>) -> Course {
        Course {
            code,
            duration: Duration::from_millis(600),
            first_token: first_token.map(Duration::from_millis),
            per_token: per_token.map(Duration::from_millis),
        }
    }

    fn verdicts(objective: &Objective, course: &Course) -> [Option<bool>; 3] {
        [
            Promise::Availability,
            Promise::TimeToFirstToken,
            Promise::TimePerOutputToken,
        ]
        .map(|promise| kept(promise, objective, course))
    }

    #[test]
    fn a_fast_answer_keeps_all_and_a_slow_one_breaks_what_it_is_slow_at() {
        let fast = course(200, Some(500), Some(50));
        assert_eq!(verdicts(&OBJECTIVE, &fast), [Some(true); 3]);
        let late = course(200, Some(501), Some(50));
        assert_eq!(verdicts(&OBJECTIVE, &late), [Some(true), Some(false), Some(true)]);
        let slow = course(200, Some(10), Some(51));
        assert_eq!(verdicts(&OBJECTIVE, &slow), [Some(true), Some(true), Some(false)]);
    }

    #[test]
    fn a_failure_breaks_what_it_did_not_fulfil_before() {
        assert_eq!(verdicts(&OBJECTIVE, &course(503, None, None)), [Some(false); 3]);
        let broken_off = course(503, Some(10), Some(10));
        assert_eq!(
            verdicts(&OBJECTIVE, &broken_off),
            [Some(false), Some(true), Some(false)]
        );
    }

    #[test]
    fn what_the_client_did_itself_says_nothing() {
        assert_eq!(verdicts(&OBJECTIVE, &course(400, None, None)), [None; 3]);
        assert_eq!(verdicts(&OBJECTIVE, &course(429, None, None)), [None; 3]);
        let impatient = Course {
            duration: Duration::from_millis(100),
            ..course(CLIENT_GONE, None, None)
        };
        assert_eq!(verdicts(&OBJECTIVE, &impatient), [None; 3]);
    }

    #[test]
    fn who_left_after_the_promised_time_saw_it_broken() {
        let gave_up = course(CLIENT_GONE, None, None);
        assert_eq!(verdicts(&OBJECTIVE, &gave_up), [None, Some(false), None]);
    }

    #[test]
    fn what_is_not_promised_is_not_judged() {
        let silent = Objective::default();
        assert_eq!(Promise::all(&silent).collect::<Vec<_>>(), [Promise::Availability]);
        let slow = course(200, Some(60_000), Some(60_000));
        assert_eq!(verdicts(&silent, &slow), [Some(true), None, None]);
    }
}
