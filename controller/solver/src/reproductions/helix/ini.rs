//! The part of the INI format that Helix writes: sections, `key=value`, comments, products with a unit.

use super::Error;

/// One section, in the file's order.
pub(super) struct Section<'t> {
    pub(super) name: &'t str,
    file: &'t str,
    entries: Vec<(&'t str, &'t str)>,
}

/// The sections of a file; `file` is its name, for errors.
pub(super) fn sections<'t>(file: &'t str, text: &'t str) -> Result<Vec<Section<'t>>, Error> {
    let mut sections: Vec<Section<'t>> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let place = || format!("{file}, line {}", index + 1);
        if let Some(rest) = line.strip_prefix('[') {
            let name = rest
                .strip_suffix(']')
                .ok_or_else(|| Error::new(place(), "a section ends with ]"))?;
            sections.push(Section {
                name,
                file,
                entries: Vec::new(),
            });
            continue;
        }
        let (key, value) = line
            .split_once('=')
            .ok_or_else(|| Error::new(place(), format!("{line:?} is neither [section] nor key=value")))?;
        let section = sections
            .last_mut()
            .ok_or_else(|| Error::new(place(), "key=value stands before the first [section]"))?;
        section.entries.push((key.trim(), value.trim()));
    }
    Ok(sections)
}

impl<'t> Section<'t> {
    pub(super) fn place(&self) -> String {
        format!("{}, section [{}]", self.file, self.name)
    }

    pub(super) fn text(&self, key: &str) -> Result<&'t str, Error> {
        let found = self.entries.iter().find(|(name, _)| *name == key);
        found
            .map(|(_, value)| *value)
            .ok_or_else(|| Error::new(self.place(), format!("{key}=… is missing")))
    }

    /// A number, or a number times a unit: `12.5 * mbps`.
    pub(super) fn quantity(&self, key: &str, units: &[(&str, f64)]) -> Result<f64, Error> {
        let text = self.text(key)?;
        let wrong = || {
            let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
            let expected = format!("a number, or a number times one of {}", names.join(", "));
            Error::new(self.place(), format!("{key}={text} is not {expected}"))
        };
        let (number, unit) = match text.split_once('*') {
            Some((number, unit)) => (number, Some(unit.trim())),
            None => (text, None),
        };
        let number: f64 = number.trim().parse().map_err(|_| wrong())?;
        let scale = match unit {
            None => 1.0,
            Some(unit) => units.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1,
        };
        Ok(number * scale)
    }

    pub(super) fn number(&self, key: &str) -> Result<usize, Error> {
        let text = self.text(key)?;
        text.parse()
            .map_err(|_| Error::new(self.place(), format!("{key}={text} is not a whole number")))
    }
}
