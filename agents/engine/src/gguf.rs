//! Reads the header of a GGUF file: its metadata and where each tensor lies. It does not read weights, and a file that
//! lies about its sizes is an error, never a panic or an endless allocation. Format: ggml's `docs/gguf.md`, version 3.

use std::{
    fs::File,
    io::{BufReader, Read},
    ops::Range,
    path::{Path, PathBuf},
};

use crate::{Error, Result};

/// Metadata that is longer than this is not a model's: the largest vocabularies take some 10 MB.
const HEADER_BYTES_MAX: u64 = 256 << 20;
/// ggml holds tensors of up to four dimensions.
const DIMENSIONS_MAX: u32 = 4;

/// A GGUF file's header.
#[derive(Clone, Debug)]
pub struct Gguf {
    /// Where the file is.
    pub path: PathBuf,
    /// Metadata in the order of the file.
    pub entries: Vec<Entry>,
    /// Tensors in the order of the file.
    pub tensors: Vec<Tensor>,
    /// Bytes of magic, metadata and tensor infos, without the padding behind them.
    pub header_bytes: u64,
    /// Length of the whole file.
    pub file_bytes: u64,
    /// Tensors begin at multiples of this.
    pub alignment: u64,
}

/// One piece of metadata.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// Its value; of an array only what it is made of.
    pub value: Value,
    /// Where type and value stand in the file, to be copied as they are.
    pub place: Range<u64>,
}

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any unsigned or signed integer.
    Integer(i128),
    /// A float of either width.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// Text. Bytes that are not UTF-8 are replaced.
    Text(String),
    /// An array: type of its elements, how many there are, and where the first begins.
    Array {
        /// GGUF's type number of the elements.
        element: u32,
        /// Number of elements.
        length: u64,
        /// Offset of the first element in the file.
        offset: u64,
    },
}

/// Where a tensor lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Dimensions, the contiguous one first.
    pub dimensions: Vec<u64>,
    /// ggml's type number.
    pub kind: u32,
    /// Offset of its data in the file.
    pub offset: u64,
    /// Bytes of its data.
    pub bytes: u64,
}

impl Value {
    /// The value as an unsigned 32-bit number, where it is one.
    #[must_use]
    pub fn as_u32(&self) -> Option<u32> {
        match self {
            Self::Integer(number) => u32::try_from(*number).ok(),
            _ => None,
        }
    }

    /// The value as text, where it is text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl Gguf {
    /// Reads the header of the file at `path`.
    ///
    /// # Errors
    ///
    /// [`Error::File`] when it cannot be read, [`Error::Gguf`] when it is not GGUF or contradicts itself.
    pub fn read(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::file(path, &error))?;
        let file_bytes = file.metadata().map_err(|error| Error::file(path, &error))?.len();
        let mut header = Header {
            path,
            reader: BufReader::with_capacity(1 << 16, file),
            at: 0,
            file_bytes,
        };
        header.read()
    }

    /// The metadata value under `key`.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.entries
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.value)
    }

    /// The tensor called `name`.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    /// `general.architecture`.
    ///
    /// # Errors
    ///
    /// [`Error::Gguf`] when the file names none.
    pub fn architecture(&self) -> Result<&str> {
        self.value("general.architecture")
            .and_then(Value::as_text)
            .ok_or_else(|| Error::gguf(&self.path, "general.architecture is missing"))
    }

    /// The texts of an array, as bytes; empty when there is no such array.
    ///
    /// # Errors
    ///
    /// [`Error::File`] and [`Error::Gguf`].
    pub fn texts(&self, key: &str) -> Result<Vec<Vec<u8>>> {
        let Some(Value::Array {
            element: VALUE_TEXT,
            length,
            offset,
        }) = self.value(key)
        else {
            return Ok(Vec::new());
        };
        let file = File::open(&self.path).map_err(|error| Error::file(&self.path, &error))?;
        let mut header = Header {
            path: &self.path,
            reader: BufReader::new(file),
            at: 0,
            file_bytes: self.file_bytes,
        };
        header.skip(*offset)?;
        (0..*length).map(|_| header.text_bytes()).collect()
    }

    /// The number under `architecture.key`; where a file gives one number per layer, the largest.
    ///
    /// # Errors
    ///
    /// [`Error::File`] when an array cannot be read.
    pub fn shape(&self, key: &str) -> Result<Option<u32>> {
        let key = format!("{}.{key}", self.architecture()?);
        match self.value(&key) {
            Some(Value::Array {
                element: VALUE_U32 | VALUE_I32,
                length,
                offset,
            }) => {
                let mut bytes = vec![0; usize::try_from(*length).unwrap_or(usize::MAX).saturating_mul(4)];
                let file = File::open(&self.path).map_err(|error| Error::file(&self.path, &error))?;
                std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, *offset)
                    .map_err(|error| Error::file(&self.path, &error))?;
                Ok(bytes
                    .as_chunks()
                    .0
                    .iter()
                    .map(|chunk| u32::from_le_bytes(*chunk))
                    .max())
            }
            value => Ok(value.and_then(Value::as_u32)),
        }
    }
}

/// GGUF's type numbers of 32-bit whole numbers and of text.
const VALUE_U32: u32 = 4;
const VALUE_I32: u32 = 5;
const VALUE_TEXT: u32 = 8;

/// A reader that knows where it is and refuses to read past the file's end.
struct Header<'a> {
    path: &'a Path,
    reader: BufReader<File>,
    at: u64,
    file_bytes: u64,
}

impl Header<'_> {
    fn read(&mut self) -> Result<Gguf> {
        if &self.bytes::<4>()? != b"GGUF" {
            return Err(self.error("it does not begin with `GGUF`"));
        }
        let version = self.u32()?;
        if !(2..=3).contains(&version) {
            return Err(self.error(format!("version {version} is not 2 or 3")));
        }
        let num_tensors = self.u64()?;
        let num_entries = self.u64()?;
        let entries = (0..num_entries)
            .map(|_| self.entry())
            .collect::<Result<Vec<_>>>()?;
        let alignment = entries
            .iter()
            .find(|entry| entry.key == "general.alignment")
            .map_or(Some(32), |entry| entry.value.as_u32())
            .filter(|alignment| alignment.is_power_of_two())
            .ok_or_else(|| self.error("general.alignment is not a power of two"))?;
        if entries
            .iter()
            .any(|entry| entry.key == "split.count" && entry.value.as_u32() > Some(1))
        {
            return Err(self.error(
                "it is one part of a model in several files; merge them with `llama-gguf-split --merge`",
            ));
        }
        let mut tensors = (0..num_tensors)
            .map(|_| self.tensor())
            .collect::<Result<Vec<_>>>()?;
        let header_bytes = self.at;
        let data = header_bytes.next_multiple_of(u64::from(alignment));
        for tensor in &mut tensors {
            let end = tensor.offset.checked_add(data).and_then(|offset| {
                tensor.offset = offset;
                offset.checked_add(tensor.bytes)
            });
            if end.is_none_or(|end| end > self.file_bytes) {
                return Err(self.error(format!("tensor {} reaches past the file's end", tensor.name)));
            }
        }
        Ok(Gguf {
            path: self.path.to_owned(),
            entries,
            tensors,
            header_bytes,
            file_bytes: self.file_bytes,
            alignment: u64::from(alignment),
        })
    }

    fn entry(&mut self) -> Result<Entry> {
        let key = self.text()?;
        let start = self.at;
        let kind = self.u32()?;
        let value = self.value(kind)?;
        Ok(Entry {
            key,
            value,
            place: start..self.at,
        })
    }

    fn value(&mut self, kind: u32) -> Result<Value> {
        Ok(match kind {
            0 => Value::Integer(u8::from_le_bytes(self.bytes()?).into()),
            1 => Value::Integer(i8::from_le_bytes(self.bytes()?).into()),
            2 => Value::Integer(u16::from_le_bytes(self.bytes()?).into()),
            3 => Value::Integer(i16::from_le_bytes(self.bytes()?).into()),
            4 => Value::Integer(self.u32()?.into()),
            5 => Value::Integer(i32::from_le_bytes(self.bytes()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.bytes()?).into()),
            7 => Value::Bool(self.bytes::<1>()? != [0]),
            8 => Value::Text(self.text()?),
            9 => self.array()?,
            10 => Value::Integer(self.u64()?.into()),
            11 => Value::Integer(i64::from_le_bytes(self.bytes()?).into()),
            12 => Value::Float(f64::from_le_bytes(self.bytes()?)),
            other => return Err(self.error(format!("value type {other} is unknown"))),
        })
    }

    fn array(&mut self) -> Result<Value> {
        let element = self.u32()?;
        let length = self.u64()?;
        let offset = self.at;
        let width = match element {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            8 => {
                for _ in 0..length {
                    let bytes = self.u64()?;
                    self.skip(bytes)?;
                }
                return Ok(Value::Array {
                    element,
                    length,
                    offset,
                });
            }
            other => return Err(self.error(format!("arrays of type {other} are unknown"))),
        };
        let bytes = length
            .checked_mul(width)
            .ok_or_else(|| self.error("an array is longer than the file"))?;
        self.skip(bytes)?;
        Ok(Value::Array {
            element,
            length,
            offset,
        })
    }

    fn tensor(&mut self) -> Result<Tensor> {
        let name = self.text()?;
        let num_dimensions = self.u32()?;
        if !(1..=DIMENSIONS_MAX).contains(&num_dimensions) {
            return Err(self.error(format!("tensor {name} has {num_dimensions} dimensions")));
        }
        let dimensions = (0..num_dimensions)
            .map(|_| self.u64())
            .collect::<Result<Vec<_>>>()?;
        let kind = self.u32()?;
        let offset = self.u64()?;
        let bytes = tensor_bytes(kind, &dimensions).ok_or_else(|| {
            self.error(format!(
                "tensor {name} has type {kind} and dimensions {dimensions:?}"
            ))
        })?;
        Ok(Tensor {
            name,
            dimensions,
            kind,
            offset,
            bytes,
        })
    }

    fn text(&mut self) -> Result<String> {
        self.text_bytes()
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    fn text_bytes(&mut self) -> Result<Vec<u8>> {
        let length = self.u64()?;
        self.advance(length)?;
        let mut bytes =
            vec![0; usize::try_from(length).expect("advance refuses what is longer than a header")];
        self.reader
            .read_exact(&mut bytes)
            .map_err(|error| Error::file(self.path, &error))?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    fn bytes<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH]> {
        self.advance(LENGTH as u64)?;
        let mut bytes = [0; LENGTH];
        self.reader
            .read_exact(&mut bytes)
            .map_err(|error| Error::file(self.path, &error))?;
        Ok(bytes)
    }

    fn skip(&mut self, bytes: u64) -> Result<()> {
        self.advance(bytes)?;
        let bytes = i64::try_from(bytes).expect("advance refuses what is longer than a header");
        self.reader
            .seek_relative(bytes)
            .map_err(|error| Error::file(self.path, &error))
    }

    fn advance(&mut self, bytes: u64) -> Result<()> {
        match self.at.checked_add(bytes) {
            Some(at) if at <= self.file_bytes.min(HEADER_BYTES_MAX) => {
                self.at = at;
                Ok(())
            }
            _ => Err(self.error(format!("the header ends early, at byte {}", self.at))),
        }
    }

    fn error(&self, reason: impl Into<String>) -> Error {
        Error::gguf(self.path, reason)
    }
}

/// Name, elements in a block, and bytes of a block, of each of ggml's types that model files use.
/// A test compares the table with ggml's own.
const KINDS: &[(u32, &str, u64, u64)] = &[
    (0, "F32", 1, 4),
    (1, "F16", 1, 2),
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144),
    (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (29, "IQ1_M", 256, 56),
    (30, "BF16", 1, 2),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
];

/// ggml's name of a tensor type.
#[must_use]
pub fn kind_name(kind: u32) -> Option<&'static str> {
    KINDS
        .iter()
        .find(|(number, ..)| *number == kind)
        .map(|(_, name, ..)| *name)
}

fn tensor_bytes(kind: u32, dimensions: &[u64]) -> Option<u64> {
    let (_, _, block, block_bytes) = KINDS.iter().find(|(number, ..)| *number == kind)?;
    let elements = dimensions
        .iter()
        .try_fold(1_u64, |product, length| product.checked_mul(*length))?;
    let row = *dimensions.first()?;
    (row % block == 0)
        .then(|| (elements / block).checked_mul(*block_bytes))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Gguf> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        std::fs::write(&path, bytes).unwrap();
        Gguf::read(&path)
    }

    fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
    }

    /// A header with one entry and one tensor of 64 bytes of F32, then `data`.
    fn file(offset: u64, data: usize) -> Vec<u8> {
        let mut bytes = [
            &b"GGUF"[..],
            &3_u32.to_le_bytes(),
            &1_u64.to_le_bytes(),
            &1_u64.to_le_bytes(),
        ]
        .concat();
        bytes.extend(
            [
                text("general.architecture"),
                8_u32.to_le_bytes().to_vec(),
                text("llama"),
            ]
            .concat(),
        );
        bytes.extend(
            [
                text("blk.0.x"),
                1_u32.to_le_bytes().to_vec(),
                16_u64.to_le_bytes().to_vec(),
            ]
            .concat(),
        );
        bytes.extend([&0_u32.to_le_bytes()[..], &offset.to_le_bytes()].concat());
        bytes.resize(bytes.len().next_multiple_of(32) + data, 0);
        bytes
    }

    #[test]
    fn a_tensor_is_where_the_header_says() {
        let gguf = read(&file(32, 96)).unwrap();
        assert_eq!(gguf.architecture().unwrap(), "llama");
        let tensor = gguf.tensor("blk.0.x").unwrap();
        assert_eq!((tensor.bytes, tensor.offset + 64), (64, gguf.file_bytes));
    }

    #[test]
    fn a_file_that_ends_early_anywhere_is_an_error_and_not_a_panic() {
        let whole = file(0, 64);
        assert!(read(&whole).is_ok());
        for length in 0..whole.len() {
            assert!(
                matches!(read(&whole[..length]), Err(Error::Gguf { .. })),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn sizes_that_cannot_be_are_errors_and_allocate_nothing() {
        let mut endless = file(0, 64);
        endless[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(read(&endless), Err(Error::Gguf { .. })));
        let mut long_key = file(0, 64);
        long_key[24..32].copy_from_slice(&(u64::MAX / 2).to_le_bytes());
        assert!(matches!(read(&long_key), Err(Error::Gguf { .. })));
        assert!(matches!(read(&file(u64::MAX - 8, 64)), Err(Error::Gguf { .. })));
    }

    #[test]
    fn the_table_of_tensor_types_is_that_of_ggml() {
        for &(kind, name, block, block_bytes) in KINDS {
            let (found_name, found_block, found_bytes) = crate::llama::kind(kind);
            let name_of_ours = name.to_lowercase();
            assert_eq!(
                (found_name.to_lowercase(), found_block, found_bytes),
                (name_of_ours, block, block_bytes)
            );
        }
    }
}
