//! Places: CSV with a header, as the EUA data set has its sites and users, and many others have theirs.

use super::Error;

/// Reads places: a header that names a latitude and a longitude, in either case, then lines with both in degrees. Other
/// columns are not looked at; text with commas may stand behind the two.
///
/// # Errors
/// Names the line that is wrong.
pub fn places(name: &str, text: &str) -> Result<Vec<(f64, f64)>, Error> {
    let mut lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    let header = lines.next().map_or("", |(_, line)| line);
    let column = |wanted: &str| {
        let mut names = header.trim_start_matches('\u{feff}').split(',');
        let found = names.position(|name| name.trim().eq_ignore_ascii_case(wanted));
        found.ok_or_else(|| Error(format!("{name}: its header names no column {wanted}: {header:?}")))
    };
    let (latitude, longitude) = (column("latitude")?, column("longitude")?);
    let mut places = Vec::new();
    for (number, line) in lines {
        let degrees = |column: usize, most: f64| {
            let text = line.split(',').nth(column).map_or("", str::trim);
            let parsed: Option<f64> = text.parse().ok();
            let within = parsed.filter(|degrees| degrees.abs() <= most);
            let problem = format!("{text:?} is not a number of degrees up to {most}");
            within.ok_or_else(|| Error(format!("{name}, line {}: {problem}", number + 1)))
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
    fn files_of_the_eua_data_set_are_read_as_they_are_published() {
        let sites = "SITE_ID,LATITUDE,LONGITUDE,NAME,STATE\n10003026,-37.81517,144.97476,\"Spring, and Flinders\",VIC\n";
        assert_eq!(places("sites.csv", sites), Ok(vec![(-37.81517, 144.97476)]));
        let users = "Latitude,Longitude\r\n-37.814619463998895,144.9744434939978\r\n";
        assert_eq!(
            places("users.csv", users),
            Ok(vec![(-37.814_619_463_998_895, 144.974_443_493_997_8)])
        );
    }

    #[test]
    fn wrong_lines_are_named() {
        for (text, expected) in [
            ("", "no column latitude"),
            ("name,lat,lon\na,1,2\n", "no column latitude"),
            ("name,latitude\na,1\n", "no column longitude"),
            ("name,latitude,longitude\n", "no line"),
            ("name,latitude,longitude\na,1\n", "line 2: \"\" is not"),
            ("name,latitude,longitude\na,1,2\n\nb,91,2\n", "line 4: \"91\""),
            ("name,latitude,longitude\na,x,2\n", "\"x\" is not a number"),
            ("name,latitude,longitude\na,NaN,2\n", "\"NaN\" is not a number"),
        ] {
            let error = places("p.csv", text).expect_err(text).to_string();
            assert!(error.contains(expected), "{expected} in {error}");
        }
    }
}
