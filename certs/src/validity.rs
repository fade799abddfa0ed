//! How long a certificate holds, and when it is time for the next.

use std::time::Duration;

use policy::time::UtcMillis;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;

/// Clocks differ.
const SKEW: Duration = Duration::from_secs(300);

/// From when until when a certificate holds (RFC 5280 section 4.1.2.5), to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// It is refused before.
    pub not_before: UtcMillis,
    /// It is refused after.
    pub not_after: UtcMillis,
}

impl Validity {
    /// A life that begins now, or a little before for clocks that are behind.
    #[must_use]
    pub fn begun(now: UtcMillis, life: Duration) -> Self {
        let whole = |millis: u64| UtcMillis(millis / 1000 * 1000);
        Self {
            not_before: whole(now.0.saturating_sub(millis(SKEW))),
            not_after: whole(now.0.saturating_add(millis(life))),
        }
    }

    pub(crate) fn of(certificate: &X509Certificate<'_>) -> Self {
        let at = |seconds: i64| UtcMillis(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000));
        let validity = certificate.validity();
        Self { not_before: at(validity.not_before.timestamp()), not_after: at(validity.not_after.timestamp()) }
    }

    /// The same, that ends no later than `end`.
    #[must_use]
    pub fn until(self, end: UtcMillis) -> Self {
        Self { not_after: self.not_after.min(end), ..self }
    }

    /// What both allow.
    #[must_use]
    pub fn within(self, other: Self) -> Self {
        Self { not_before: self.not_before.max(other.not_before), not_after: self.not_after.min(other.not_after) }
    }

    /// Whether it holds at a time.
    #[must_use]
    pub fn holds(&self, now: UtcMillis) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    /// When it is time for the next: a third of its life is left.
    #[must_use]
    pub const fn due(&self) -> UtcMillis {
        let life = self.not_after.0.saturating_sub(self.not_before.0);
        UtcMillis(self.not_after.0.saturating_sub(life / 3))
    }

    /// Whether it is time for the next. Also when it has not begun, for then a clock was set back.
    #[must_use]
    pub const fn is_due(&self, now: UtcMillis) -> bool {
        now.0 < self.not_before.0 || self.due().0 <= now.0
    }

    /// Seconds until it ends; below zero when it has.
    #[must_use]
    pub fn seconds_left(&self, now: UtcMillis) -> f64 {
        let between = |from: UtcMillis, to: UtcMillis| Duration::from_millis(to.0.saturating_sub(from.0)).as_secs_f64();
        between(now, self.not_after) - between(self.not_after, now)
    }

    /// Both ends, as `rcgen` takes them.
    pub(crate) fn ends(&self) -> (OffsetDateTime, OffsetDateTime) {
        let seconds = |t: UtcMillis| i64::try_from(t.0 / 1000).unwrap_or(i64::MAX);
        // What no calendar can say has ended.
        let at = |t| OffsetDateTime::from_unix_timestamp(seconds(t)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        (at(self.not_before), at(self.not_after))
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;

    #[test]
    fn the_next_is_due_when_a_third_is_left() {
        let begun = Validity::begun(UtcMillis(1000 * DAY + 1), Duration::from_millis(90 * DAY));
        let due = |day: u64| begun.is_due(UtcMillis(day * DAY));
        assert_eq!([1000, 1059, 1061, 1090, 2000].map(due), [false, false, true, true, true]);
        assert!(due(999), "the clock was set back");
        assert_eq!(begun.not_after.0 % 1000, 0, "certificates know no fractions of a second");
    }

    #[test]
    fn what_is_left_goes_below_zero() {
        let ends = Validity { not_before: UtcMillis(0), not_after: UtcMillis(10_000) };
        assert_eq!([9_000, 10_000, 12_500].map(|now| ends.seconds_left(UtcMillis(now))), [1.0, 0.0, -2.5]);
    }
}
