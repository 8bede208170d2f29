//! Stage files: a GGUF file with layers `[a, b)` of a model, renumbered from 0, that llama.cpp loads as a small model.
//!
//! A stage that is not last has an embedding table of one row and no vocabulary, so that its head costs nothing; hidden
//! states are given to it from outside. The last stage has the real head under the embedding's name (llama.cpp falls
//! back to it) and no vocabulary. A stage that is the whole model is the model's own file, and is not written again.
//!
//! Files are kept by the model's digest, appear by a rename or not at all, and are never changed.

use std::{
    fs::{self, File},
    io::{self, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use crate::{
    Error, ModelFacts, Result, architecture,
    facts::layer_of,
    gguf::{Gguf, Tensor},
};

/// Changes whenever the same stage would be written differently, so that older files are not taken for new ones.
const LAYOUT: &str = "stages-v1";
/// ggml's type number of f32.
const KIND_F32: u32 = 0;
/// GGUF's type numbers of the two kinds of value that are written anew.
const VALUE_U32: u32 = 4;
const VALUE_TEXT: u32 = 8;

/// The file to load for `layers` of the model, written if it is not there yet.
///
/// # Errors
///
/// [`Error::SplitUnsupported`], [`Error::Layers`], [`Error::DiskFull`], [`Error::File`].
pub(crate) fn prepare(
    model: &Gguf,
    facts: &ModelFacts,
    digest: &str,
    layers: &Range<u32>,
    cache: &Path,
) -> Result<PathBuf> {
    if layers.start >= layers.end || layers.end > facts.layers {
        return Err(Error::Layers {
            start: layers.start,
            end: layers.end,
            available: facts.layers,
        });
    }
    if *layers == (0..facts.layers) {
        return Ok(model.path.clone());
    }
    architecture::refusal(model)?;
    let plan = Plan::of(model, facts, layers)?;
    let path = path_of(cache, digest, layers, facts)?;
    store(&path, plan.bytes(), |file| plan.write(model, file))?;
    Ok(path)
}

/// Bytes that the file of a stage will take on disk: none for one that is there, or for the whole model, which is loaded from its
/// own file.
///
/// # Errors
///
/// As [`prepare`] has them, but for those of writing.
pub fn bytes_to_write(model_path: &Path, digest: &str, layers: &Range<u32>, cache: &Path) -> Result<u64> {
    let model = Gguf::read(model_path)?;
    let facts = ModelFacts::of(&model)?;
    if *layers == (0..facts.layers) {
        return Ok(0);
    }
    let bytes = Plan::of(&model, &facts, layers)?.bytes();
    let path = path_of(cache, digest, layers, &facts)?;
    let is_there = fs::metadata(path).is_ok_and(|metadata| metadata.len() == bytes);
    Ok(if is_there { 0 } else { bytes })
}

/// Where the file of a stage is kept.
fn path_of(cache: &Path, digest: &str, layers: &Range<u32>, facts: &ModelFacts) -> Result<PathBuf> {
    let last = if layers.end == facts.layers { "-last" } else { "" };
    let name = format!("layers-{:03}-{:03}{last}.gguf", layers.start, layers.end);
    Ok(folder(cache, digest)?.join(name))
}

/// Where the tensors of a stage lie in the model's file.
///
/// # Errors
///
/// [`Error::SplitUnsupported`], and [`Error::Gguf`] when a tensor is missing.
pub(crate) fn places(model: &Gguf, facts: &ModelFacts, layers: &Range<u32>) -> Result<Vec<Range<u64>>> {
    architecture::refusal(model)?;
    let tensors = tensors_of(model, facts, layers)?;
    let place = |(_, _, _, source)| match source {
        Source::Copy(place) => Some(place),
        Source::Zeros(_) => None,
    };
    Ok(tensors.into_iter().filter_map(place).collect())
}

/// The folder of a model's stage files.
fn folder(cache: &Path, digest: &str) -> Result<PathBuf> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_:".contains(&byte);
    if digest.is_empty() || digest.len() > 128 || !digest.bytes().all(plain) {
        return Err(Error::invalid(
            "model_digest",
            digest,
            "use up to 128 letters, digits, `-`, `_` and `:`",
        ));
    }
    Ok(cache.join(LAYOUT).join(digest.replace(':', "-")))
}

/// What a stage file consists of.
struct Plan {
    /// Everything before the tensors' data, padded.
    header: Vec<u8>,
    /// Where each tensor's data comes from, and how many bytes of padding follow it.
    parts: Vec<(Source, u64)>,
}

enum Source {
    /// Bytes of the model's file.
    Copy(Range<u64>),
    /// This many zero bytes.
    Zeros(u64),
}

impl Source {
    fn bytes(&self) -> u64 {
        match self {
            Self::Copy(place) => place.end - place.start,
            Self::Zeros(bytes) => *bytes,
        }
    }
}

impl Plan {
    fn of(model: &Gguf, facts: &ModelFacts, layers: &Range<u32>) -> Result<Self> {
        let tensors = tensors_of(model, facts, layers)?;
        let mut header = Vec::new();
        header.extend(b"GGUF");
        header.extend(3_u32.to_le_bytes());
        header.extend((tensors.len() as u64).to_le_bytes());
        write_metadata(&mut header, model, facts, layers)?;
        let mut offset = 0_u64;
        let mut parts = Vec::new();
        for (name, dimensions, kind, source) in tensors {
            write_text(&mut header, &name);
            header.extend(
                u32::try_from(dimensions.len())
                    .expect("at most four dimensions")
                    .to_le_bytes(),
            );
            header.extend(dimensions.iter().flat_map(|length| length.to_le_bytes()));
            header.extend(kind.to_le_bytes());
            header.extend(offset.to_le_bytes());
            let end = offset + source.bytes();
            offset = end.next_multiple_of(model.alignment);
            parts.push((source, offset - end));
        }
        header.resize(
            header
                .len()
                .next_multiple_of(usize::try_from(model.alignment).expect("alignment is small")),
            0,
        );
        Ok(Self { header, parts })
    }

    fn bytes(&self) -> u64 {
        self.header.len() as u64
            + self
                .parts
                .iter()
                .map(|(source, padding)| source.bytes() + padding)
                .sum::<u64>()
    }

    fn write(&self, model: &Gguf, target: &mut dyn Write) -> io::Result<()> {
        let mut source_file = File::open(&model.path)?;
        target.write_all(&self.header)?;
        for (source, padding) in &self.parts {
            let copied = match source {
                Source::Copy(place) => {
                    source_file.seek(SeekFrom::Start(place.start))?;
                    io::copy(&mut Read::by_ref(&mut source_file).take(source.bytes()), target)?
                }
                Source::Zeros(bytes) => io::copy(&mut io::repeat(0).take(*bytes), target)?,
            };
            if copied != source.bytes() {
                return Err(io::Error::new(
                    ErrorKind::UnexpectedEof,
                    "the model's file became shorter",
                ));
            }
            io::copy(&mut io::repeat(0).take(*padding), target)?;
        }
        Ok(())
    }
}

/// Name, dimensions, type and data of a tensor.
type StageTensor = (String, Vec<u64>, u32, Source);

/// Every tensor of a stage.
fn tensors_of(model: &Gguf, facts: &ModelFacts, layers: &Range<u32>) -> Result<Vec<StageTensor>> {
    let copy = |name: String, tensor: &Tensor| {
        let place = tensor.offset..tensor.offset + tensor.bytes;
        (name, tensor.dimensions.clone(), tensor.kind, Source::Copy(place))
    };
    let mut tensors = Vec::new();
    if layers.end == facts.layers {
        let head = model
            .tensor("output.weight")
            .or_else(|| model.tensor("token_embd.weight"));
        let head = head.ok_or_else(|| Error::gguf(&model.path, "tensor token_embd.weight is missing"))?;
        tensors.push(copy("token_embd.weight".into(), head));
    } else {
        let length = u64::from(facts.embedding_length);
        tensors.push((
            "token_embd.weight".into(),
            vec![length, 1],
            KIND_F32,
            Source::Zeros(length * 4),
        ));
    }
    for tensor in &model.tensors {
        match layer_of(&tensor.name) {
            Some(layer) if layers.contains(&layer) => {
                let rest = tensor.name.splitn(3, '.').nth(2).expect("layer_of saw two dots");
                tensors.push(copy(format!("blk.{}.{rest}", layer - layers.start), tensor));
            }
            Some(_) => {}
            // Carried by every stage: llama.cpp demands the norm, and computes wrongly without the frequencies.
            None if matches!(tensor.name.as_str(), "output_norm.weight" | "rope_freqs.weight") => {
                tensors.push(copy(tensor.name.clone(), tensor));
            }
            None => {}
        }
    }
    Ok(tensors)
}

/// The model's metadata, with the number of layers and the vocabulary replaced.
fn write_metadata(header: &mut Vec<u8>, model: &Gguf, facts: &ModelFacts, layers: &Range<u32>) -> Result<()> {
    let block_count = format!("{}.block_count", facts.architecture);
    let vocabulary_size = format!("{}.vocab_size", facts.architecture);
    let kept: Vec<_> = model
        .entries
        .iter()
        .filter(|entry| {
            !entry.key.starts_with("tokenizer.") && entry.key != block_count && entry.key != vocabulary_size
        })
        .collect();
    let vocabulary = if layers.end == facts.layers {
        facts.vocabulary
    } else {
        1
    };
    header.extend((kept.len() as u64 + 3).to_le_bytes());
    let mut file = File::open(&model.path).map_err(|error| Error::file(&model.path, &error))?;
    for entry in kept {
        write_text(header, &entry.key);
        file.seek(SeekFrom::Start(entry.place.start))
            .and_then(|_| {
                Read::by_ref(&mut file)
                    .take(entry.place.end - entry.place.start)
                    .read_to_end(header)
            })
            .map_err(|error| Error::file(&model.path, &error))?;
    }
    for (key, number) in [
        (block_count, layers.end - layers.start),
        (vocabulary_size, vocabulary),
    ] {
        write_text(header, &key);
        header.extend(VALUE_U32.to_le_bytes());
        header.extend(number.to_le_bytes());
    }
    write_text(header, "tokenizer.ggml.model");
    header.extend(VALUE_TEXT.to_le_bytes());
    write_text(header, "none");
    Ok(())
}

fn write_text(header: &mut Vec<u8>, text: &str) {
    header.extend((text.len() as u64).to_le_bytes());
    header.extend(text.as_bytes());
}

/// Writes `path` through a neighbour and a rename, unless a file of the right size is there. Two processes that want
/// the same file take turns; what a killed one left half-written is written over by the next.
fn store(path: &Path, bytes: u64, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let present = || fs::metadata(path).is_ok_and(|metadata| metadata.len() == bytes);
    if present() {
        return Ok(());
    }
    let parent = path.parent().expect("a stage file is in a folder");
    let partial = path.with_extension("partial");
    let stored = (|| {
        fs::create_dir_all(parent)?;
        let turn = File::create(parent.join("lock"))?;
        turn.lock()?;
        if present() {
            return Ok(());
        }
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&partial)?);
        write(&mut file)?;
        // A file whose name is on the disk before its content would be taken for whole after a power cut.
        file.into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()?;
        fs::rename(&partial, path)
    })();
    stored.map_err(|error: io::Error| {
        // Whatever stopped us, the half file must not keep the space; that it may not exist is fine.
        let _ = fs::remove_file(&partial);
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Error::DiskFull {
                path: path.display().to_string(),
                needed_bytes: bytes,
            },
            _ => Error::file(path, &error),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_and_leaves_no_half_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("models/stage.gguf");
        let error = store(&path, 1_000, |file| {
            file.write_all(&[7; 500])?;
            Err(ErrorKind::StorageFull.into())
        });
        assert_eq!(
            error,
            Err(Error::DiskFull {
                path: path.display().to_string(),
                needed_bytes: 1_000
            })
        );
        let left: Vec<_> = fs::read_dir(path.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["lock"]);
    }

    #[test]
    fn a_file_of_the_right_size_is_not_written_again_and_a_short_one_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stage.gguf");
        fs::write(&path, "abc").unwrap();
        store(&path, 3, |_| panic!("it is there already")).unwrap();
        store(&path, 4, |file| file.write_all(b"abcd")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"abcd");
    }

    #[test]
    fn a_digest_that_would_leave_the_cache_is_refused() {
        for digest in ["", "../up", "a/b", "."] {
            assert!(folder(Path::new("cache"), digest).is_err(), "{digest:?}");
        }
        assert_eq!(
            folder(Path::new("c"), "sha256:ab").unwrap(),
            Path::new("c/stages-v1/sha256-ab")
        );
    }
}
