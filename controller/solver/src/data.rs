//! Recorded places and requests that are built in, and readers for files of the same form. Origins and licences:
//! `data/README.md`.

use std::fmt;

use crate::reproductions::trace;
use crate::simulate::Request;

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

/// Reads requests: a header, then lines of milliseconds that do not fall, prompt tokens and output tokens.
///
/// # Errors
/// Names the line that is wrong.
pub fn requests(name: &str, text: &str) -> Result<Vec<Request>, Error> {
    trace::parse(name, text).map_err(|error| Error(error.to_string()))
}

/// Reads places: a header, then lines of a name, a latitude and a longitude in degrees.
///
/// # Errors
/// Names the line that is wrong.
pub fn places(name: &str, text: &str) -> Result<Vec<(f64, f64)>, Error> {
    let mut places = Vec::new();
    let lines = text.lines().enumerate().skip(1);
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |problem: &str| Error(format!("{name}, line {}: {problem}", number + 1));
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let [_, latitude, longitude] = fields[..] else {
            return Err(wrong("a line has a name, a latitude and a longitude"));
        };
        let degrees = |text: &str, most: f64| {
            let parsed: Option<f64> = text.parse().ok();
            let within = parsed.filter(|degrees| degrees.abs() <= most);
            within.ok_or_else(|| wrong(&format!("{text:?} is not a number of degrees up to {most}")))
        };
        places.push((degrees(latitude, 90.0)?, degrees(longitude, 180.0)?));
    }
    if places.is_empty() {
        return Err(Error(format!("{name} has no line after its header")));
    }
    Ok(places)
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

    #[test]
    fn wrong_lines_are_named() {
        for (lines, expected) in [
            ("", "no line"),
            ("a,1\n", "line 2: a line has"),
            ("a,1,2\nb,91,2\n", "line 3: \"91\""),
            ("a,x,2\n", "\"x\" is not a number"),
        ] {
            let error = places("p.csv", &format!("name,latitude,longitude\n{lines}")).expect_err(lines);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
