//! The one place that reads the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use policy::time::UtcMillis;

/// Now, in milliseconds since 1970. It labels; the catalog's sequences order.
#[must_use]
pub fn now() -> UtcMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UtcMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// `2026-11-24T12:00:00.123Z` (RFC 3339, UTC).
#[must_use]
pub fn rfc3339(at: UtcMillis) -> String {
    let nanos = i128::from(at.0) * 1_000_000;
    time::OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .ok()
        .and_then(|t| {
            t.format(time::macros::format_description!(
                "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
            ))
            .ok()
        })
        .unwrap_or_else(|| format!("{}ms", at.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_rfc3339() {
        assert_eq!(rfc3339(UtcMillis(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(UtcMillis(1_795_521_600_123)), "2026-11-24T12:00:00.123Z");
    }
}
