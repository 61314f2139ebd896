//! Formats an error with its causes in one line.

use std::error::Error;

/// The message with its causes, without repetitions.
pub fn describe(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct TestError(&'static str, #[source] Option<Box<Self>>);

    #[test]
    fn each_cause_is_printed_once() {
        let cause = |text, cause: TestError| TestError(text, Some(Box::new(cause)));
        let error =
            cause("cannot read a: no such file", cause("no such file", TestError("disk on fire", None)));
        assert_eq!(describe(&error), "cannot read a: no such file: disk on fire");
    }
}
