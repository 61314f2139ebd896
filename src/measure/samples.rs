//! Combines the samples of several connections.

use std::time::Duration;

use super::connection::{End, MeasureError, Sample};

/// The measured behaviour of a server with idle connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Behaviour {
    /// It closes them between these two times.
    ClosesAfter {
        /// The shortest measured time.
        earliest: Duration,
        /// The longest measured time.
        latest: Duration,
    },
    /// It closes the connection after each response.
    ClosesEachResponse,
    /// It had closed none after this time.
    StillOpen(Duration),
    /// It closed only some of them.
    Differs {
        /// The shortest measured time.
        earliest: Duration,
        /// How long the open ones were watched.
        watched: Duration,
    },
}

/// Combines the samples of a server.
///
/// # Errors
///
/// Returns the first error if no connection has a result.
pub fn behaviour(samples: &[Result<Sample, MeasureError>]) -> Result<Behaviour, MeasureError> {
    let ends: Vec<End> = samples.iter().flatten().map(|sample| sample.end).collect();
    let closed = ends.iter().filter_map(|end| match end {
        End::WithResponse => Some(Duration::ZERO),
        End::After(after, _) => Some(*after),
        End::StillOpen(_) => None,
    });
    let watched = ends.iter().filter_map(|end| match end {
        End::StillOpen(max) => Some(*max),
        End::WithResponse | End::After(..) => None,
    });
    let (earliest, latest, watched) = (closed.clone().min(), closed.max(), watched.min());
    match (earliest, latest, watched) {
        (Some(_), Some(latest), None) if latest.is_zero() => Ok(Behaviour::ClosesEachResponse),
        (Some(earliest), Some(latest), None) => Ok(Behaviour::ClosesAfter { earliest, latest }),
        (Some(earliest), _, Some(watched)) => Ok(Behaviour::Differs { earliest, watched }),
        (None, _, Some(watched)) => Ok(Behaviour::StillOpen(watched)),
        (None, _, None) | (Some(_), None, None) => Err(samples
            .iter()
            .find_map(|sample| sample.as_ref().err().cloned())
            .unwrap_or(MeasureError::NoResponse)),
    }
}

impl Behaviour {
    /// A description.
    pub fn describe(self) -> String {
        match self {
            Self::ClosesAfter { earliest, latest } if tenths(earliest) == tenths(latest) => {
                format!("closes idle connections after {}", tenths(earliest))
            }
            Self::ClosesAfter { earliest, latest } => {
                format!("closes idle connections after {} to {}", tenths(earliest), tenths(latest))
            }
            Self::ClosesEachResponse => "closes the connection after each response".to_owned(),
            Self::StillOpen(max) => format!("closed no idle connection within {}", tenths(max)),
            Self::Differs { earliest, watched } => format!(
                "closes some idle connections, the first after {}, and did not close others within {}",
                tenths(earliest),
                tenths(watched)
            ),
        }
    }

    /// The value of the annotation that declares it; `None` if there is no such value.
    pub fn annotation(self) -> Option<String> {
        match self {
            // Probes can first meet the earliest close.
            Self::ClosesAfter { earliest, .. } => Some(crate::base::duration::format(rounded(earliest))),
            Self::ClosesEachResponse | Self::StillOpen(_) | Self::Differs { .. } => None,
        }
    }
}

/// Formats a time in tenths of a second; network measurements are not more precise.
fn tenths(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}

/// Rounds a time to tenths of a second.
fn rounded(time: Duration) -> Duration {
    let tenths = (time.as_millis() + 50) / 100;
    Duration::from_millis(u64::try_from(tenths).unwrap_or(u64::MAX).saturating_mul(100))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::measure::connection::Close;

    fn after(millis: u64) -> End {
        End::After(Duration::from_millis(millis), Close::Closed)
    }

    const OPEN: End = End::StillOpen(Duration::from_secs(130));

    #[rstest]
    #[case::alike(&[after(65_004), after(65_031)], "closes idle connections after 65.0s", Some("65s"))]
    #[case::a_window(&[after(10_020), after(10_940)], "closes idle connections after 10.0s to 10.9s", Some("10s"))]
    #[case::a_part_of_a_second(&[after(2_502)], "closes idle connections after 2.5s", Some("2.5s"))]
    #[case::each(&[End::WithResponse, End::WithResponse], "closes the connection after each response", None)]
    #[case::open(&[OPEN, OPEN], "closed no idle connection within 130.0s", None)]
    #[case::both(&[after(5_000), OPEN],
        "closes some idle connections, the first after 5.0s, and did not close others within 130.0s", None)]
    fn words(#[case] ends: &[End], #[case] expected: &str, #[case] annotation: Option<&str>) {
        let samples: Vec<_> =
            ends.iter().map(|end| Ok(Sample { status: 200, announced: None, end: *end })).collect();
        let found = behaviour(&samples).unwrap();
        assert_eq!(found.describe(), expected);
        assert_eq!(found.annotation().as_deref(), annotation);
    }

    #[test]
    fn an_error_counts_only_where_there_is_nothing_else() {
        let open = Ok(Sample { status: 200, announced: None, end: OPEN });
        let error = || Err(MeasureError::NoResponse);
        assert_eq!(behaviour(&[error(), open]), Ok(Behaviour::StillOpen(Duration::from_secs(130))));
        assert_eq!(behaviour(&[error(), error()]), Err(MeasureError::NoResponse));
    }
}
