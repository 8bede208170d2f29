//! What is declared about a node, for what cannot be measured on it, and for devices that this machine
//! only plays.

/// What an EdgeNode declares about its hardware. The default declares nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// Whether this machine only plays the device (`edgeloom up`): what is declared then goes before what
    /// the machine would say of itself. Otherwise it fills in for what cannot be measured.
    pub emulated: bool,
    /// Bytes of memory that the node may use. It never adds to what the machine has.
    pub memory_bytes: Option<u64>,
    /// Bytes of its control group's limit that are the agent's own; the node may not use them. No matter where there is
    /// no such limit.
    pub agent_bytes: u64,
    /// Cores that the node may use, fractions allowed. It never adds to what the machine has.
    pub cores: Option<f64>,
    /// A battery.
    pub battery: Option<BatteryProfile>,
    /// Degrees Celsius at which the device is assumed to run.
    pub temperature_celsius: Option<f64>,
}

/// A battery that exists in the profile only.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatteryProfile {
    /// Energy when full, joules. A phone has some 50,000, a laptop 200,000.
    pub capacity_joules: f64,
    /// Charge over full charge at the start, 0 to 1.
    pub initial_ratio: f64,
    /// Power while idle, watts.
    pub idle_watts: f64,
    /// Energy that a core takes in a second of work, on top of the idle power, joules.
    pub joules_per_cpu_second: f64,
}
