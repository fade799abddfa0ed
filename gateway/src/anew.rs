//! What a process hands to the one that takes its place after a full disk (`docs/decisions/0004`): how often that
//! happened, and counted requests whose record could not be written.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::record::Folded;

/// Not one of `GOTGAN_*`: those are configuration.
const VARIABLE: &str = "_GOTGAN_HANDOVER";
/// Between the first two starts; twice as long between the next.
const PAUSE: Duration = Duration::from_secs(10);
const PAUSE_MAX: Duration = Duration::from_secs(600);
/// Of good service, after which starts before are forgotten.
const GOOD: Duration = Duration::from_secs(3600);
/// A variable has at most 128 KiB; a record takes about 300 bytes.
const RECORDS: usize = 256;

/// What is handed over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// The process: it stays the same, and nobody else is meant.
    process: u32,
    /// Starts in the place of another, one soon after the other.
    pub starts: u32,
    /// Records that are still to be written.
    pub(crate) folds: Vec<Folded>,
    /// Requests that were in further ones.
    pub(crate) beyond: u64,
}

impl Handover {
    /// What the process before this one handed over; nothing when there was none.
    #[must_use]
    pub fn received() -> Self {
        std::env::var(VARIABLE).ok().and_then(|text| Self::read(&text, std::process::id())).unwrap_or_default()
    }

    fn read(text: &str, process: u32) -> Option<Self> {
        serde_json::from_str(text).ok().filter(|read: &Self| read.process == process)
    }

    pub(crate) fn new(starts: u32, mut folds: Vec<Folded>) -> Self {
        let further = folds.split_off(folds.len().min(RECORDS));
        let beyond = further.into_iter().fold(0, |sum: u64, fold| sum.saturating_add(fold.count));
        Self { process: std::process::id(), starts, folds, beyond }
    }

    /// How it is handed over: name and value of a variable.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn variable(&self) -> Result<(OsString, OsString), serde_json::Error> {
        Ok((VARIABLE.into(), serde_json::to_string(self)?.into()))
    }
}

/// Keeps a process that is soon broken again from being replaced over and over.
#[derive(Debug)]
pub struct Brake {
    begun: Instant,
    before: u32,
    /// How long it served when it was found broken.
    served: Option<Duration>,
}

impl Brake {
    /// Of a process that begins now, after so many soon after one another.
    #[must_use]
    pub fn new(before: u32) -> Self {
        Self { begun: Instant::now(), before, served: None }
    }

    /// Takes note that it serves no more.
    pub(crate) fn broken(&mut self) {
        self.served.get_or_insert(self.begun.elapsed());
    }

    /// How long the next start has to wait yet.
    pub(crate) fn left(&self) -> Duration {
        pause(self.recent()).saturating_sub(self.begun.elapsed())
    }

    /// The number of the next start.
    pub(crate) fn next(&self) -> u32 {
        self.recent().saturating_add(1)
    }

    fn recent(&self) -> u32 {
        if self.served.is_some_and(|served| served >= GOOD) { 0 } else { self.before }
    }
}

/// From one start to the next, after so many.
fn pause(starts: u32) -> Duration {
    match starts {
        0 => Duration::ZERO,
        _ => PAUSE.saturating_mul(2_u32.saturating_pow(starts - 1)).min(PAUSE_MAX),
    }
}

#[cfg(test)]
mod tests {
    use policy::time::UtcMillis;

    use super::*;

    fn fold(count: u64) -> Folded {
        let (kind, source) = ("refusals".to_owned(), "others".to_owned());
        Folded { kind, source, count, first: UtcMillis(u64::MAX), last: UtcMillis(u64::MAX), digest: [255; 32] }
    }

    #[test]
    fn starts_are_further_and_further_apart() {
        assert_eq!([0, 1, 2, 3, 6, 7, 8, 1000].map(|n| pause(n).as_secs()), [0, 10, 20, 40, 320, 600, 600, 600]);
        let mut brake = Brake::new(7);
        brake.broken();
        assert!(brake.left() > Duration::from_secs(590) && brake.next() == 8);
        brake.served = Some(GOOD);
        brake.broken();
        assert_eq!((brake.left(), brake.next()), (Duration::ZERO, 1), "it served well before");
    }

    #[test]
    fn what_is_handed_over_fits_and_is_for_one_process() {
        let handed = Handover::new(3, (0..RECORDS as u64 + 2).map(fold).collect());
        assert_eq!(handed.beyond, 2 * RECORDS as u64 + 1);
        let (name, value) = handed.variable().unwrap();
        assert!(!name.to_str().unwrap().starts_with("GOTGAN_"));
        let text = value.into_string().unwrap();
        assert!(text.len() < 100 << 10, "{} bytes", text.len());
        assert_eq!(Handover::read(&text, std::process::id()), Some(handed));
        assert_eq!(Handover::read(&text, std::process::id() + 1), None);
        assert_eq!(Handover::read("none", std::process::id()), None);
    }
}
