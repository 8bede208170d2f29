//! GPUs, through NVIDIA's management library, which is loaded when the agent starts. A machine without the library or
//! without a driver has no GPU, which is no error. What a GPU does not tell is `None`.

use nvml_wrapper::{Nvml, enum_wrappers::device::TemperatureSensor};

/// A GPU as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpu {
    /// `cuda0` and so on, in the library's order.
    pub name: String,
    /// The product, such as `NVIDIA L4`.
    pub product: Option<String>,
    /// What stays the same when cards are put in another order.
    pub uuid: Option<String>,
    /// Bytes of its memory.
    pub memory_total_bytes: u64,
    /// Bytes of these that are taken, by whomever.
    pub memory_used_bytes: u64,
    /// Degrees Celsius.
    pub temperature_celsius: Option<f64>,
    /// Power that it draws, watts.
    pub power_watts: Option<f64>,
    /// Share of the time in which something ran on it, 0 to 1.
    pub busy_ratio: Option<f64>,
}

/// The library, kept open between readings.
pub(crate) struct Gpus {
    library: Nvml,
}

impl Gpus {
    /// The system's library; nothing where it is not installed or finds no driver.
    pub(crate) fn open() -> Option<Self> {
        Self::told(Nvml::init())
    }

    #[cfg(test)]
    fn of_library(path: &std::ffi::OsStr) -> Option<Self> {
        Self::told(Nvml::builder().lib_path(path).init())
    }

    fn told(library: Result<Nvml, nvml_wrapper::error::NvmlError>) -> Option<Self> {
        let library = library.inspect_err(|error| tracing::debug!(%error, "no GPU library"));
        library.ok().map(|library| Self { library })
    }

    /// The GPUs that can be read now, in the library's order. One that has fallen off the bus is left out.
    pub(crate) fn read(&self) -> Vec<Gpu> {
        let count = self.library.device_count().unwrap_or(0);
        (0..count).filter_map(|index| self.gpu(index)).collect()
    }

    fn gpu(&self, index: u32) -> Option<Gpu> {
        let gone =
            |error: &nvml_wrapper::error::NvmlError| tracing::debug!(index, %error, "a GPU cannot be read");
        let device = self.library.device_by_index(index).inspect_err(gone).ok()?;
        let memory = device.memory_info().inspect_err(gone).ok()?;
        Some(Gpu {
            name: format!("cuda{index}"),
            product: device.name().ok(),
            uuid: device.uuid().ok(),
            memory_total_bytes: memory.total,
            memory_used_bytes: memory.used,
            temperature_celsius: device.temperature(TemperatureSensor::Gpu).ok().map(f64::from),
            power_watts: device
                .power_usage()
                .ok()
                .map(|milliwatts| f64::from(milliwatts) / 1000.0),
            busy_ratio: device
                .utilization_rates()
                .ok()
                .map(|rates| f64::from(rates.gpu) / 100.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, path::PathBuf, process::Command};

    use tempfile::TempDir;

    use super::*;

    /// A library with two cards, of which the second tells only its memory.
    const LIBRARY: &str = r#"
        #include <string.h>
        typedef struct { int index; } Card;
        typedef struct { unsigned int version; unsigned long long total, reserved, free, used; } Memory;
        typedef struct { unsigned int gpu, memory; } Utilization;
        enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3 };
        static Card cards[2] = {{0}, {1}};
        int nvmlInit_v2(void) { return OK; }
        int nvmlShutdown(void) { return OK; }
        int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 2; return OK; }
        int nvmlDeviceGetHandleByIndex_v2(unsigned int index, Card **card) {
            if (index > 1) return INVALID;
            *card = &cards[index];
            return OK;
        }
        int nvmlDeviceGetName(Card *card, char *name, unsigned int length) {
            if (card->index == 1) return NOT_SUPPORTED;
            strncpy(name, "Test Card 9000", length);
            return OK;
        }
        int nvmlDeviceGetUUID(Card *card, char *uuid, unsigned int length) {
            if (card->index == 1) return NOT_SUPPORTED;
            strncpy(uuid, "GPU-0001", length);
            return OK;
        }
        int nvmlDeviceGetMemoryInfo_v2(Card *card, Memory *memory) {
            if (memory->version != (sizeof(Memory) | (2 << 24))) return INVALID;
            memory->total = (card->index + 1) * 8000000000ULL;
            memory->used = 500000000ULL;
            memory->free = memory->total - memory->used;
            return OK;
        }
        int nvmlDeviceGetTemperature(Card *card, int sensor, unsigned int *celsius) {
            if (card->index == 1 || sensor != 0) return NOT_SUPPORTED;
            *celsius = 61;
            return OK;
        }
        int nvmlDeviceGetPowerUsage(Card *card, unsigned int *milliwatts) {
            if (card->index == 1) return NOT_SUPPORTED;
            *milliwatts = 72500;
            return OK;
        }
        int nvmlDeviceGetUtilizationRates(Card *card, Utilization *rates) {
            if (card->index == 1) return NOT_SUPPORTED;
            rates->gpu = 40;
            rates->memory = 10;
            return OK;
        }
    "#;

    fn library(source: &str) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (text, built) = (
            folder.path().join("nvml.c"),
            folder.path().join("libnvidia-ml.so"),
        );
        std::fs::write(&text, source).unwrap();
        let compiler = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .args([&built, &text])
            .status();
        let compiled = compiler.expect("the C compiler that builds the engine is there");
        assert!(compiled.success());
        (folder, built)
    }

    #[test]
    fn cards_are_read_and_what_one_does_not_tell_is_left_open() {
        let (_folder, path) = library(LIBRARY);
        let gpus = Gpus::of_library(path.as_os_str()).unwrap().read();
        let first = Gpu {
            name: "cuda0".to_owned(),
            product: Some("Test Card 9000".to_owned()),
            uuid: Some("GPU-0001".to_owned()),
            memory_total_bytes: 8_000_000_000,
            memory_used_bytes: 500_000_000,
            temperature_celsius: Some(61.0),
            power_watts: Some(72.5),
            busy_ratio: Some(0.4),
        };
        let second = Gpu {
            name: "cuda1".to_owned(),
            product: None,
            uuid: None,
            memory_total_bytes: 16_000_000_000,
            temperature_celsius: None,
            power_watts: None,
            busy_ratio: None,
            ..first.clone()
        };
        assert_eq!(gpus, [first, second]);
    }

    #[test]
    fn a_missing_library_or_one_without_a_driver_is_no_gpu() {
        assert!(Gpus::of_library(OsStr::new("/nowhere/libnvidia-ml.so")).is_none());
        let (_folder, path) = library("int nvmlInit_v2(void) { return 9; }");
        assert!(Gpus::of_library(path.as_os_str()).is_none());
    }
}
