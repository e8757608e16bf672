//! The settings of the running programs, and their only writer.

use super::Kernel;
use super::error::KernelError;
use aya::maps::{Array, MapData};
use sentinel_common::names::MAP_SETTINGS;
use sentinel_common::settings::Settings;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

/// The single element of `SETTINGS`.
pub(super) struct SettingsMap(Mutex<Array<MapData, Settings>>);

impl SettingsMap {
    pub(super) const fn new(map: Array<MapData, Settings>) -> Self {
        Self(Mutex::new(map))
    }

    /// The settings as the programs have them.
    pub(super) fn get(&self) -> Result<Settings, KernelError> {
        let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        map.get(&0, 0).map_err(|error| KernelError::map(MAP_SETTINGS, &error))
    }

    /// Changes them. A packet sees each word as it was or as it is.
    pub(super) fn change(&self, change: impl FnOnce(&mut Settings)) -> Result<(), KernelError> {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |error| KernelError::map(MAP_SETTINGS, &error);
        let mut settings = map.get(&0, 0).map_err(failed)?;
        change(&mut settings);
        map.set(0, settings.derive(), 0).map_err(failed)
    }
}

impl Kernel {
    /// The settings as the programs have them, such as the thresholds they were given.
    ///
    /// # Errors
    /// [`KernelError::Map`] when they cannot be read.
    pub fn settings(&self) -> Result<Settings, KernelError> {
        self.settings.get()
    }
}

/// A secret for hashes an outsider must not be able to steer; never zero, which stands for none.
pub(super) fn seed() -> u64 {
    RandomState::new().hash_one(0x5eed_u32) | 1
}
