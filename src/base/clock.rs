//! The current date and time.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

/// The current date in UTC. Exemptions are valid through the end of their last day in UTC.
pub(crate) fn today() -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date()
}

/// The current time.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
