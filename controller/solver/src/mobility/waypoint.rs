//! Users that walk and drive: the random waypoint model (Johnson and Maltz, 1996), over sites whose cells are the places
//! nearest to them. From a seed, so that every run meets the same users.

use crate::fixtures::Seeded;

/// A place, in decimetres.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Eastwards.
    pub east: i64,
    /// Northwards.
    pub north: i64,
}

impl Place {
    /// Decimetres between two places, rounded down.
    #[must_use]
    pub fn distance(self, other: Self) -> u64 {
        self.squared(other).isqrt()
    }

    fn squared(self, other: Self) -> u64 {
        let (east, north) = (self.east.abs_diff(other.east), self.north.abs_diff(other.north));
        east * east + north * north
    }
}

/// The site nearest to a place; of equally near ones the first.
#[must_use]
pub fn nearest(sites: &[Place], place: Place) -> usize {
    let near = |site: &usize| sites[*site].squared(place);
    (0..sites.len()).min_by_key(near).unwrap_or(0)
}

/// Speeds in decimetres per epoch, from and to.
pub type Speeds = (u64, u64);

/// Somebody on the way to a place.
#[derive(Clone, Copy, Debug)]
struct Walker {
    at: Place,
    to: Place,
    speed: u64,
}

/// Users on their ways. They turn at a waypoint without a pause, and go to the next at another speed.
#[derive(Clone, Debug)]
pub struct Walkers {
    sites: Vec<Place>,
    area: Area,
    speeds: Speeds,
    walkers: Vec<Walker>,
    random: Seeded,
}

impl Walkers {
    /// So many users in the smallest rectangle around the sites.
    ///
    /// # Panics
    /// When there is no site, or the lowest speed is above the highest.
    #[must_use]
    pub fn around(sites: Vec<Place>, users: usize, speeds: Speeds, seed: u64) -> Self {
        assert!(!sites.is_empty(), "users walk among sites");
        assert!(speeds.0 <= speeds.1, "speeds are given from and to");
        let mut walkers = Self {
            area: Area::around(&sites),
            sites,
            speeds,
            walkers: Vec::new(),
            random: Seeded::new(seed),
        };
        for _user in 0..users {
            let walker = Walker {
                at: walkers.anywhere(),
                to: walkers.anywhere(),
                speed: walkers.random.between(speeds.0, speeds.1),
            };
            walkers.walkers.push(walker);
        }
        walkers
    }

    /// An epoch passes.
    pub fn step(&mut self) {
        for user in 0..self.walkers.len() {
            let Walker { at, to, speed } = self.walkers[user];
            let left = at.distance(to);
            self.walkers[user] = if left <= speed {
                Walker {
                    at: to,
                    to: self.anywhere(),
                    speed: self.random.between(self.speeds.0, self.speeds.1),
                }
            } else {
                let along = |from: i64, to: i64| {
                    from + (to - from) * i64::try_from(speed).unwrap_or(0) / i64::try_from(left).unwrap_or(1)
                };
                Walker {
                    at: Place {
                        east: along(at.east, to.east),
                        north: along(at.north, to.north),
                    },
                    to,
                    speed,
                }
            };
        }
    }

    /// The cell of each user now, which has its site's ordinal.
    #[must_use]
    pub fn cells(&self) -> Vec<u32> {
        let cell = |walker: &Walker| nearest(&self.sites, walker.at);
        let ordinal = |cell| u32::try_from(cell).expect("fewer than 2^32 sites");
        self.walkers.iter().map(cell).map(ordinal).collect()
    }

    fn anywhere(&mut self) -> Place {
        let mut within =
            |corner: i64, extent: u64| corner.saturating_add_unsigned(self.random.between(0, extent));
        let Area {
            corner,
            width,
            height,
        } = self.area;
        Place {
            east: within(corner.east, width),
            north: within(corner.north, height),
        }
    }
}

/// The smallest rectangle around some places.
#[derive(Clone, Copy, Debug)]
struct Area {
    /// The south-western corner.
    corner: Place,
    width: u64,
    height: u64,
}

impl Area {
    fn around(places: &[Place]) -> Self {
        let range = |of: fn(&Place) -> i64| {
            let low = places.iter().map(of).min().unwrap_or(0);
            let high = places.iter().map(of).max().unwrap_or(0);
            (low, high.abs_diff(low))
        };
        let ((east, width), (north, height)) = (range(|place| place.east), range(|place| place.north));
        Self {
            corner: Place { east, north },
            width,
            height,
        }
    }
}
