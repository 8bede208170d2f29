//! Where weights are: what the `uri` of a Model's variant stands for, the same for controller and agents.

use std::path::PathBuf;

/// The variable that names another hub for `hf://` than the usual one, as it does for the hub's own clients.
pub const HUB_VARIABLE: &str = "HF_ENDPOINT";

/// Where `hf://` leads when [`HUB_VARIABLE`] names nothing.
const HUB: &str = "https://huggingface.co";

/// A place that weights can be read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A file of the machine that reads it.
    File(PathBuf),
    /// An address for HTTP.
    Web(String),
}

/// Why a `uri` leads nowhere.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("uri `{uri}`: {wrong}")]
pub struct Error {
    uri: String,
    wrong: &'static str,
}

impl Location {
    /// What `uri` stands for. `hf://OWNER/REPOSITORY/FILE` is a file of `hub`, or of the usual one.
    ///
    /// # Errors
    ///
    /// When the scheme is none that this version reads, or something is missing behind `hf://`.
    pub fn of(uri: &str, hub: Option<&str>) -> Result<Self, Error> {
        let wrong = |wrong| Error {
            uri: uri.to_owned(),
            wrong,
        };
        match uri.split_once("://") {
            Some(("file", path)) => Ok(Self::File(PathBuf::from(path))),
            Some(("https" | "http", _)) => Ok(Self::Web(uri.to_owned())),
            Some(("hf", path)) => match path.splitn(3, '/').collect::<Vec<_>>()[..] {
                [owner, repository, file] if ![owner, repository, file].contains(&"") => {
                    let hub = hub.unwrap_or(HUB).trim_end_matches('/');
                    Ok(Self::Web(format!(
                        "{hub}/{owner}/{repository}/resolve/main/{file}"
                    )))
                }
                _ => Err(wrong("hf://OWNER/REPOSITORY/FILE is right")),
            },
            Some(("oci", _)) => Err(wrong(
                "images are not supported yet; use https://, hf:// or file://",
            )),
            _ => Err(wrong("use file://, https:// or hf://")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_uri_leads_to_its_place_or_says_what_would_be_right() {
        let web = |uri, hub| match Location::of(uri, hub) {
            Ok(Location::Web(address)) => address,
            other => panic!("{uri}: {other:?}"),
        };
        let hf = "hf://owner/repository/folder/file.gguf";
        assert_eq!(
            web(hf, None),
            "https://huggingface.co/owner/repository/resolve/main/folder/file.gguf"
        );
        assert_eq!(
            web(hf, Some("http://mirror:8080/")),
            "http://mirror:8080/owner/repository/resolve/main/folder/file.gguf"
        );
        assert_eq!(
            web("http://host/x.gguf", Some("http://mirror")),
            "http://host/x.gguf"
        );
        assert_eq!(
            Location::of("file:///models/x.gguf", None),
            Ok(Location::File(PathBuf::from("/models/x.gguf")))
        );
        for (uri, part) in [
            ("oci://registry/model", "not supported yet"),
            ("hf://owner", "hf://OWNER"),
            ("hf://owner//file", "hf://OWNER"),
            ("ftp://x", "use file://"),
            ("x.gguf", "use file://"),
        ] {
            let error = Location::of(uri, None).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains(uri), "{error}");
        }
    }
}
