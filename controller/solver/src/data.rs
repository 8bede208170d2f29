//! Recorded places and requests that are built in, and readers for files of these and of their own forms. Origins and licences:
//! `data/README.md`.

use std::fmt;

use crate::reproductions::trace;
use crate::simulate::Request;

mod places;
mod requests;

pub use places::places;
pub use requests::requests;

const EUA_SITES: &str = include_str!("../data/eua/sites.csv");
const EUA_USERS: &str = include_str!("../data/eua/users.csv");
const MOONCAKE: &str = include_str!("../data/mooncake/synthetic.csv");

/// Why a file cannot be read: its line, and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// 125 base stations of Melbourne's business district (EUA): latitude and longitude in degrees.
///
/// # Panics
/// Never: a test reads the built-in file.
#[must_use]
pub fn eua_sites() -> Vec<(f64, f64)> {
    places("eua/sites.csv", EUA_SITES).expect("the built-in file is whole, which a test shows")
}

/// Users of the same district.
///
/// # Panics
/// Never: a test reads the built-in file.
#[must_use]
pub fn eua_users() -> Vec<(f64, f64)> {
    places("eua/users.csv", EUA_USERS).expect("the built-in file is whole, which a test shows")
}

/// Requests of an hour of conversations (Azure).
#[must_use]
pub fn azure_conversation() -> Vec<Request> {
    trace::conversation()
}

/// Long prompts with short answers (Mooncake).
///
/// # Panics
/// Never: a test reads the built-in file.
#[must_use]
pub fn mooncake() -> Vec<Request> {
    requests("mooncake/synthetic.csv", MOONCAKE).expect("the built-in file is whole, which a test shows")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_in_is_whole() {
        assert_eq!((eua_sites().len(), eua_users().len()), (125, 204));
        let in_melbourne = |(latitude, longitude): &(f64, f64)| {
            (-37.83..-37.80).contains(latitude) && (144.94..144.99).contains(longitude)
        };
        assert!(eua_sites().iter().chain(&eua_users()).all(in_melbourne));
        assert_eq!((mooncake().len(), azure_conversation().len()), (999, 4_165));
        let prompts: u64 = mooncake()
            .iter()
            .map(|request| u64::from(request.length.prompt))
            .sum();
        assert!(prompts / 999 > 5_000, "its prompts are long");
    }
}
