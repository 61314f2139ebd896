//! Image platforms: `linux/amd64`, `linux/arm/v7`.

use std::{fmt, str::FromStr};

/// The operating system and architecture of an image.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Platform {
    /// Such as `linux`.
    pub os: String,
    /// Such as `amd64`.
    pub architecture: String,
    /// Such as `v7`; any variant if absent.
    pub variant: Option<String>,
}

/// An invalid platform.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not a platform; write it like linux/amd64 or linux/arm/v7")]
pub struct PlatformError(String);

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        let is_word = |part: &&str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        let (os, architecture, variant) = match parts.as_slice() {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some((*variant).to_owned())),
            _ => return Err(PlatformError(text.to_owned())),
        };
        if !parts.iter().all(is_word) {
            return Err(PlatformError(text.to_owned()));
        }
        Ok(Self { os: (*os).to_owned(), architecture: (*architecture).to_owned(), variant })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::two_parts("linux/amd64")]
    #[case::variant("linux/arm/v7")]
    fn platforms_are_read_back(#[case] text: &str) {
        assert_eq!(text.parse::<Platform>().unwrap().to_string(), text);
    }

    #[rstest]
    #[case::one_part("amd64")]
    #[case::empty_part("linux/")]
    #[case::too_many("linux/arm/v7/x")]
    #[case::upper_case("Linux/amd64")]
    fn other_texts_are_refused(#[case] text: &str) {
        let message = format!("{text:?} is not a platform; write it like linux/amd64 or linux/arm/v7");
        assert_eq!(text.parse::<Platform>().unwrap_err().to_string(), message);
    }
}
