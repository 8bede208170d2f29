//! When is a value news? A status is written when a value leaves its dead band or after five minutes;
//! everything faster goes to metrics. Pure: the time is an argument.

use std::time::{Duration, Instant};

use self::gpus::GpuBands;
use crate::reading::Reading;

mod gpus;

/// After so long a value is reported even if it did not move.
pub const LONGEST_SILENCE: Duration = Duration::from_secs(300);

/// Holds back a value that stays near what was reported last.
#[derive(Clone, Debug)]
pub struct DeadBand {
    width: f64,
    longest_silence: Duration,
    reported: Option<(Option<f64>, Instant)>,
}

impl DeadBand {
    /// A band of `width` to each side of the value reported last, in the value's own unit.
    pub fn new(width: f64) -> Self {
        Self {
            width,
            longest_silence: LONGEST_SILENCE,
            reported: None,
        }
    }

    /// The same with another longest silence.
    pub fn with_longest_silence(self, longest_silence: Duration) -> Self {
        Self {
            longest_silence,
            ..self
        }
    }

    /// Whether the value is news: the first one, one outside the band, one that appeared or vanished, or
    /// any after the longest silence. Does not count as reporting it.
    pub fn is_news(&self, value: Option<f64>, now: Instant) -> bool {
        let Some((reported, at)) = self.reported else {
            return true;
        };
        let moved = match (reported, value) {
            (Some(reported), Some(value)) => (value - reported).abs() > self.width,
            (reported, value) => reported.is_some() != value.is_some(),
        };
        moved || now.saturating_duration_since(at) >= self.longest_silence
    }

    /// The value was reported.
    pub fn reported(&mut self, value: Option<f64>, now: Instant) {
        self.reported = Some((value, now));
    }

    /// [`Self::is_news`] and, if it is, [`Self::reported`].
    pub fn report(&mut self, value: Option<f64>, now: Instant) -> bool {
        let news = self.is_news(value, now);
        if news {
            self.reported(value, now);
        }
        news
    }
}

/// The dead bands of a whole reading: one write of a status carries all values, so one that is news
/// reports them all.
#[derive(Clone, Debug)]
pub struct ReadingBands {
    /// Share of the memory's total.
    memory: DeadBand,
    memory_total: DeadBand,
    cores: DeadBand,
    /// Share of the cores.
    busy: DeadBand,
    battery: DeadBand,
    temperature: DeadBand,
    gpus: GpuBands,
}

impl Default for ReadingBands {
    /// Memory by a twentieth of its total, busy cores by a quarter of all, the battery by 2 % of its charge, the
    /// temperature by 3 °C; limits at any change.
    fn default() -> Self {
        Self {
            memory: DeadBand::new(0.05),
            memory_total: DeadBand::new(0.0),
            cores: DeadBand::new(0.0),
            busy: DeadBand::new(0.25),
            battery: DeadBand::new(0.02),
            temperature: DeadBand::new(3.0),
            gpus: GpuBands::default(),
        }
    }
}

impl ReadingBands {
    /// Whether a status should be written for this reading; if so, it counts as written.
    pub fn report(&mut self, reading: &Reading, now: Instant) -> bool {
        let Reading {
            observed: _,
            memory,
            processor,
            battery,
            temperature_celsius,
            gpus,
        } = reading;
        let memory = memory.map(|fact| fact.value);
        let processor = processor.map(|fact| fact.value);
        let mut banded = [
            (
                &mut self.memory,
                memory.map(|memory| memory.available_bytes as f64 / memory.total_bytes.max(1) as f64),
            ),
            (
                &mut self.memory_total,
                memory.map(|memory| memory.total_bytes as f64),
            ),
            (&mut self.cores, processor.map(|processor| processor.cores)),
            (
                &mut self.busy,
                processor.map(|processor| processor.busy_cores / processor.cores.max(f64::MIN_POSITIVE)),
            ),
            (&mut self.battery, battery.map(|fact| fact.value.ratio)),
            (&mut self.temperature, temperature_celsius.map(|fact| fact.value)),
        ];
        let news =
            banded.iter().any(|(band, value)| band.is_news(*value, now)) || self.gpus.is_news(gpus, now);
        if news {
            self.gpus.reported(gpus, now);
            banded
                .iter_mut()
                .for_each(|(band, value)| band.reported(*value, now));
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::reading::{Battery, Fact, Memory};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_value_is_news_at_first_outside_its_band_and_after_a_long_silence() {
        let start = Instant::now();
        let mut band = DeadBand::new(2.0);
        assert!(band.report(Some(10.0), start));
        assert!(!band.report(Some(11.9), start + SECOND));
        assert!(
            !band.report(Some(8.1), start + SECOND * 2),
            "small steps are measured from what was reported"
        );
        assert!(band.report(Some(7.9), start + SECOND * 3));
        assert!(!band.report(Some(7.9), start + SECOND * 302));
        assert!(band.report(Some(7.9), start + SECOND * 303));
    }

    #[test]
    fn a_value_that_creeps_is_reported_in_the_end() {
        let start = Instant::now();
        let mut band = DeadBand::new(1.0);
        let reports = (0..10)
            .filter(|i| band.report(Some(f64::from(*i) * 0.4), start))
            .count();
        assert_eq!(reports, 4, "at 0.0, 1.2, 2.4 and 3.6");
    }

    #[test]
    fn a_value_that_appears_or_vanishes_is_news_once() {
        let start = Instant::now();
        let mut band = DeadBand::new(1.0);
        let news: Vec<bool> = [None, None, Some(1.0), Some(1.0), None]
            .map(|value| band.report(value, start))
            .to_vec();
        assert_eq!(news, [true, false, true, false, true]);
    }

    fn reading(available_bytes: u64, ratio: f64) -> Reading {
        let battery = Battery {
            ratio,
            energy_joules: 0.0,
            discharge_watts: 0.0,
        };
        Reading {
            observed: SystemTime::UNIX_EPOCH,
            memory: Some(Fact::measured(Memory {
                total_bytes: 1000,
                available_bytes,
            })),
            processor: None,
            battery: Some(Fact::declared(battery)),
            temperature_celsius: None,
            gpus: vec![],
        }
    }

    #[test]
    fn a_gpu_is_news_when_it_appears_leaves_a_band_or_vanishes() {
        let start = Instant::now();
        let mut bands = ReadingBands::default();
        let mut with = |celsius: Option<f64>| {
            let gpu = celsius.map(|celsius| crate::Gpu {
                name: "cuda0".to_owned(),
                product: None,
                uuid: None,
                memory_total_bytes: 1000,
                memory_used_bytes: 0,
                temperature_celsius: Some(celsius),
                power_watts: None,
                busy_ratio: None,
            });
            let reading = Reading {
                gpus: gpu.into_iter().collect(),
                ..reading(500, 0.5)
            };
            bands.report(&reading, start)
        };
        let news = [None, None, Some(50.0), Some(52.0), Some(54.0), None].map(&mut with);
        assert_eq!(news, [true, false, true, false, true, true]);
    }

    #[test]
    fn one_value_that_is_news_reports_the_whole_reading() {
        let start = Instant::now();
        let mut bands = ReadingBands::default();
        assert!(bands.report(&reading(500, 0.80), start));
        assert!(!bands.report(&reading(460, 0.79), start));
        assert!(bands.report(&reading(460, 0.77), start));
        assert!(
            !bands.report(&reading(420, 0.76), start),
            "460 was reported together with the battery"
        );
    }
}
