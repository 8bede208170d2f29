//! The header of a GGUF file (versions 2 and 3): metadata and the sizes of tensors, without their data.
//!
//! Layout: magic, version, number of tensors, number of metadata pairs, pairs (key, type, value), tensor infos (name,
//! dimensions, type, offset). All numbers are little-endian.

use std::collections::BTreeMap;

use crds::model::{ModelArchitecture, ModelVariantStatus};
use serde_json::Value;

use super::source::{self, Source};

/// Headers beyond this size are refused: vocabularies of today take a few MiB.
const HEADER_BYTES_MAX: usize = 256 << 20;
const FIRST_READ: usize = 1 << 20;

/// Why a header cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Something else than GGUF.
    #[error("the file is not GGUF: it begins with {0:?}")]
    Magic(Vec<u8>),
    /// A version that this reader does not know.
    #[error("GGUF version {0} is not supported; versions 2 and 3 are")]
    Version(u32),
    /// The file ends within its header.
    #[error("the file ends within its header")]
    Truncated,
    /// A number that cannot be right.
    #[error("the header is damaged: {0}")]
    Damaged(&'static str),
    /// A tensor type without a known size.
    #[error("tensor {tensor} has type {ggml_type}, which this version does not know")]
    TensorType {
        /// The tensor.
        tensor: String,
        /// Its type's number.
        ggml_type: u32,
    },
    /// Metadata that every decoder has.
    #[error("metadata {0} is missing")]
    Missing(String),
}

/// Why a header could not be read.
#[derive(Debug)]
pub enum ReadError {
    /// The bytes could not be had.
    Source(source::Error),
    /// The bytes are no usable header.
    Format(Error),
}

/// A header.
#[derive(Debug)]
pub struct Header {
    pub(super) metadata: BTreeMap<String, Value>,
    pub(super) array_lengths: BTreeMap<String, u64>,
    pub(super) tensors: Vec<Tensor>,
    bytes: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Tensor {
    pub(super) name: String,
    ggml_type: u32,
    bytes: u64,
}

/// Reads a header, and as much of the file as it takes.
///
/// # Errors
///
/// When the bytes cannot be had, or are no usable header.
pub fn read(source: &mut Source) -> Result<Header, ReadError> {
    let mut bytes = vec![];
    loop {
        let known = bytes.len();
        source
            .read_more(&mut bytes, FIRST_READ.max(known))
            .map_err(ReadError::Source)?;
        match parse(&bytes) {
            Err(Error::Truncated) if bytes.len() > known && bytes.len() < HEADER_BYTES_MAX => {}
            parsed => return parsed.map_err(ReadError::Format),
        }
    }
}

/// Parses a header from the beginning of a file.
///
/// # Errors
///
/// [`Error::Truncated`] when more bytes may help; other errors are final.
pub fn parse(bytes: &[u8]) -> Result<Header, Error> {
    let mut cursor = Cursor { bytes, at: 0 };
    let magic = cursor.take(4)?;
    if magic != b"GGUF" {
        return Err(Error::Magic(magic.to_vec()));
    }
    let version = cursor.u32()?;
    if !(2..=3).contains(&version) {
        return Err(Error::Version(version));
    }
    let (num_tensors, num_pairs) = (cursor.u64()?, cursor.u64()?);
    let mut header = Header {
        metadata: BTreeMap::new(),
        array_lengths: BTreeMap::new(),
        tensors: vec![],
        bytes: vec![],
    };
    for _ in 0..num_pairs {
        let key = cursor.string()?;
        let kind = cursor.u32()?;
        match cursor.value(kind)? {
            Parsed::Scalar(value) => drop(header.metadata.insert(key, value)),
            Parsed::Array(length) => drop(header.array_lengths.insert(key, length)),
        }
    }
    for _ in 0..num_tensors {
        header.tensors.push(cursor.tensor()?);
    }
    header.bytes = bytes[..cursor.at].to_vec();
    Ok(header)
}

impl Header {
    /// What identifies the file when nobody has said its SHA-256.
    #[must_use]
    pub fn digest(&self, file_size: u64) -> String {
        crds::model::header_digest(&self.bytes, file_size)
    }

    /// Shape and sizes of the decoder in the file. The variant's name, digest and file size are left for the caller.
    ///
    /// # Errors
    ///
    /// When metadata or tensors that every decoder has are missing.
    pub fn facts(&self) -> Result<(ModelArchitecture, ModelVariantStatus), Error> {
        let name = self
            .metadata
            .get("general.architecture")
            .and_then(Value::as_str)
            .ok_or_else(|| Error::Missing("general.architecture".to_owned()))?;
        let number = |key: &str| {
            let key = format!("{name}.{key}");
            let value = self.metadata.get(&key).and_then(Value::as_i64);
            value
                .and_then(|value| i32::try_from(value).ok())
                .ok_or(Error::Missing(key))
        };
        let (layers, embedding_length, heads) = (
            number("block_count")?,
            number("embedding_length")?,
            number("attention.head_count")?,
        );
        if layers <= 0 || layers > 1024 || heads <= 0 || embedding_length <= 0 {
            return Err(Error::Damaged(
                "layers, heads and width must be positive, and layers at most 1024",
            ));
        }
        let vocabulary = self.array_lengths.get("tokenizer.ggml.tokens").copied();
        let architecture = ModelArchitecture {
            name: name.to_owned(),
            layers,
            embedding_length,
            feed_forward_length: number("feed_forward_length").unwrap_or(embedding_length.saturating_mul(4)),
            heads,
            key_value_heads: number("attention.head_count_kv").unwrap_or(heads),
            head_length: number("attention.key_length").unwrap_or(embedding_length / heads),
            vocabulary: match vocabulary {
                Some(tokens) => i32::try_from(tokens).map_err(|_| Error::Damaged("too many tokens"))?,
                None => number("vocab_size")?,
            },
            context_length: number("context_length")?,
            splittable: self.is_splittable(name),
        };
        Ok((architecture, self.sizes(layers)?))
    }

    fn sizes(&self, layers: i32) -> Result<ModelVariantStatus, Error> {
        let num_layers = usize::try_from(layers).map_err(|_| Error::Damaged("layers must be positive"))?;
        let mut layer_bytes = vec![0_u64; num_layers];
        let (mut embedding, mut head, mut other) = (0, 0, 0);
        let mut bytes_by_type: BTreeMap<u32, u64> = BTreeMap::new();
        for tensor in &self.tensors {
            match (layer_of(&tensor.name), tensor.name.as_str()) {
                (Some(layer), _) if layer < num_layers => {
                    layer_bytes[layer] += tensor.bytes;
                    *bytes_by_type.entry(tensor.ggml_type).or_default() += tensor.bytes;
                }
                (_, "token_embd.weight") => embedding += tensor.bytes,
                (_, "output.weight") => head += tensor.bytes,
                _ => other += tensor.bytes,
            }
        }
        if embedding == 0 || layer_bytes.contains(&0) {
            return Err(Error::Damaged(
                "a decoder has a token embedding, and tensors in every layer",
            ));
        }
        let quantisation = bytes_by_type
            .iter()
            .max_by_key(|(_, bytes)| **bytes)
            .map(|(ggml_type, _)| *ggml_type);
        if layer_bytes.iter().all(|bytes| *bytes == layer_bytes[0]) {
            layer_bytes.truncate(1);
        }
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        Ok(ModelVariantStatus {
            quantisation: quantisation
                .and_then(type_of)
                .map_or_else(String::new, |known| known.name.to_owned()),
            layer_bytes: layer_bytes.into_iter().map(signed).collect(),
            embedding_bytes: signed(embedding),
            head_bytes: signed(head),
            other_bytes: signed(other),
            ..ModelVariantStatus::default()
        })
    }
}

fn layer_of(tensor: &str) -> Option<usize> {
    tensor.strip_prefix("blk.")?.split_once('.')?.0.parse().ok()
}

/// A tensor type: elements and bytes of a block, as ggml defines them.
struct TensorType {
    number: u32,
    name: &'static str,
    elements: u64,
    bytes: u64,
}

const fn tensor_type(number: u32, name: &'static str, elements: u64, bytes: u64) -> TensorType {
    TensorType {
        number,
        name,
        elements,
        bytes,
    }
}

/// Numbers, names and block sizes of ggml's tensor types.
const TYPES: [TensorType; 29] = [
    tensor_type(0, "F32", 1, 4),
    tensor_type(1, "F16", 1, 2),
    tensor_type(2, "Q4_0", 32, 18),
    tensor_type(3, "Q4_1", 32, 20),
    tensor_type(6, "Q5_0", 32, 22),
    tensor_type(7, "Q5_1", 32, 24),
    tensor_type(8, "Q8_0", 32, 34),
    tensor_type(9, "Q8_1", 32, 36),
    tensor_type(10, "Q2_K", 256, 84),
    tensor_type(11, "Q3_K", 256, 110),
    tensor_type(12, "Q4_K", 256, 144),
    tensor_type(13, "Q5_K", 256, 176),
    tensor_type(14, "Q6_K", 256, 210),
    tensor_type(15, "Q8_K", 256, 292),
    tensor_type(16, "IQ2_XXS", 256, 66),
    tensor_type(17, "IQ2_XS", 256, 74),
    tensor_type(18, "IQ3_XXS", 256, 98),
    tensor_type(19, "IQ1_S", 256, 50),
    tensor_type(20, "IQ4_NL", 32, 18),
    tensor_type(21, "IQ3_S", 256, 110),
    tensor_type(22, "IQ2_S", 256, 82),
    tensor_type(23, "IQ4_XS", 256, 136),
    tensor_type(24, "I8", 1, 1),
    tensor_type(25, "I16", 1, 2),
    tensor_type(26, "I32", 1, 4),
    tensor_type(27, "I64", 1, 8),
    tensor_type(28, "F64", 1, 8),
    tensor_type(30, "BF16", 1, 2),
    tensor_type(39, "MXFP4", 32, 17),
];

fn type_of(number: u32) -> Option<&'static TensorType> {
    TYPES.iter().find(|known| known.number == number)
}

enum Parsed {
    Scalar(Value),
    Array(u64),
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let end = self
            .at
            .checked_add(count)
            .ok_or(Error::Damaged("a length overflows"))?;
        let taken = self.bytes.get(self.at..end).ok_or(Error::Truncated)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        Ok(self
            .take(N)?
            .try_into()
            .expect("take returns as many bytes as were asked for"))
    }

    fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn length(&mut self) -> Result<usize, Error> {
        let length = self.u64()?;
        usize::try_from(length)
            .ok()
            .filter(|length| *length < HEADER_BYTES_MAX)
            .ok_or(Error::Damaged("a text or array is longer than any header"))
    }

    fn string(&mut self) -> Result<String, Error> {
        let length = self.length()?;
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    /// A value of a metadata type; arrays are skipped and counted.
    fn value(&mut self, kind: u32) -> Result<Parsed, Error> {
        Ok(Parsed::Scalar(match kind {
            0 => self.array::<1>()?[0].into(),
            1 => i8::from_le_bytes(self.array()?).into(),
            2 => u16::from_le_bytes(self.array()?).into(),
            3 => i16::from_le_bytes(self.array()?).into(),
            4 => self.u32()?.into(),
            5 => i32::from_le_bytes(self.array()?).into(),
            6 => f32::from_le_bytes(self.array()?).into(),
            7 => (self.array::<1>()?[0] != 0).into(),
            8 => self.string()?.into(),
            9 => return self.skip_array().map(Parsed::Array),
            10 => self.u64()?.into(),
            11 => i64::from_le_bytes(self.array()?).into(),
            12 => f64::from_le_bytes(self.array()?).into(),
            _ => return Err(Error::Damaged("a metadata type is unknown")),
        }))
    }

    fn skip_array(&mut self) -> Result<u64, Error> {
        let kind = self.u32()?;
        let length = self.length()?;
        let width = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            8 => {
                for _ in 0..length {
                    let bytes = self.length()?;
                    self.take(bytes)?;
                }
                return Ok(length as u64);
            }
            _ => return Err(Error::Damaged("arrays of this metadata type are unknown")),
        };
        self.take(
            length
                .checked_mul(width)
                .ok_or(Error::Damaged("a length overflows"))?,
        )?;
        Ok(length as u64)
    }

    fn tensor(&mut self) -> Result<Tensor, Error> {
        let name = self.string()?;
        let dimensions = self.u32()?;
        if dimensions == 0 || dimensions > 4 {
            return Err(Error::Damaged("a tensor has 1 to 4 dimensions"));
        }
        let mut elements = 1_u64;
        for _ in 0..dimensions {
            elements = elements
                .checked_mul(self.u64()?)
                .ok_or(Error::Damaged("a tensor's size overflows"))?;
        }
        let ggml_type = self.u32()?;
        let _offset = self.u64()?;
        let known = type_of(ggml_type).ok_or_else(|| Error::TensorType {
            tensor: name.clone(),
            ggml_type,
        })?;
        let bytes = elements.div_ceil(known.elements).saturating_mul(known.bytes);
        Ok(Tensor {
            name,
            ggml_type,
            bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Vec<u8> {
        [&(value.len() as u64).to_le_bytes()[..], value.as_bytes()].concat()
    }

    fn pair_u32(key: &str, value: u32) -> Vec<u8> {
        [
            text(key),
            4_u32.to_le_bytes().to_vec(),
            value.to_le_bytes().to_vec(),
        ]
        .concat()
    }

    fn tensor(name: &str, dimensions: &[u64], ggml_type: u32) -> Vec<u8> {
        let mut bytes = text(name);
        bytes.extend(u32::try_from(dimensions.len()).unwrap().to_le_bytes());
        dimensions
            .iter()
            .for_each(|dimension| bytes.extend(dimension.to_le_bytes()));
        bytes.extend(ggml_type.to_le_bytes());
        bytes.extend(0_u64.to_le_bytes());
        bytes
    }

    /// A tiny decoder: two layers, tied embedding, three tokens.
    fn tiny() -> Vec<u8> {
        let tokens = [
            text("tokenizer.ggml.tokens"),
            9_u32.to_le_bytes().to_vec(),
            8_u32.to_le_bytes().to_vec(),
            3_u64.to_le_bytes().to_vec(),
            text("a"),
            text("b"),
            text("c"),
        ];
        let pairs = [
            [
                text("general.architecture"),
                8_u32.to_le_bytes().to_vec(),
                text("llama"),
            ]
            .concat(),
            pair_u32("llama.block_count", 2),
            pair_u32("llama.embedding_length", 64),
            pair_u32("llama.attention.head_count", 4),
            pair_u32("llama.attention.head_count_kv", 2),
            pair_u32("llama.feed_forward_length", 128),
            pair_u32("llama.context_length", 512),
            tokens.concat(),
        ];
        let tensors = [
            tensor("token_embd.weight", &[64, 3], 0),
            tensor("output_norm.weight", &[64], 0),
            tensor("blk.0.attn_q.weight", &[64, 64], 3),
            tensor("blk.1.attn_q.weight", &[64, 64], 3),
        ];
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend((tensors.len() as u64).to_le_bytes());
        bytes.extend((pairs.len() as u64).to_le_bytes());
        bytes.extend(pairs.concat());
        bytes.extend(tensors.concat());
        bytes
    }

    #[test]
    fn shape_and_sizes_come_from_the_header() {
        let (architecture, sizes) = parse(&tiny()).unwrap().facts().unwrap();
        assert_eq!(
            (
                architecture.layers,
                architecture.heads,
                architecture.key_value_heads,
                architecture.head_length
            ),
            (2, 4, 2, 16)
        );
        assert_eq!((architecture.vocabulary, architecture.splittable), (3, true));
        assert_eq!(sizes.quantisation, "Q4_1");
        assert_eq!(sizes.layer_bytes, [64 * 64 / 32 * 20]);
        assert_eq!(
            (sizes.embedding_bytes, sizes.head_bytes, sizes.other_bytes),
            (768, 0, 256)
        );
    }

    #[test]
    fn every_beginning_of_a_header_asks_for_more_and_none_panics() {
        let whole = tiny();
        for length in 0..whole.len() {
            assert_eq!(
                parse(&whole[..length]).err(),
                Some(Error::Truncated),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn damaged_bytes_are_an_error_and_no_panic() {
        let whole = tiny();
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = value;
                if let Ok(header) = parse(&damaged) {
                    let _ = header.facts();
                }
            }
        }
    }

    #[test]
    fn another_format_is_named() {
        assert_eq!(
            parse(b"PK\x03\x04rest").err(),
            Some(Error::Magic(b"PK\x03\x04".to_vec()))
        );
    }
}
