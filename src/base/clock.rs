//! What day it is.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

/// Today in UTC: exemptions count through the end of their last day there.
pub(crate) fn today() -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date()
}
