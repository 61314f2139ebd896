//! Content digests: `sha256:` and 64 hexadecimal digits (OCI image-spec `descriptor.md`).

use ring::digest::{SHA256, digest};

const ALGORITHM: &str = "sha256:";

/// The digest of these bytes.
pub(super) fn of(bytes: &[u8]) -> String {
    let hash = digest(&SHA256, bytes);
    let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{ALGORITHM}{hex}")
}

/// The hexadecimal digits of a valid digest, which are safe in paths.
pub(super) fn hex(digest: &str) -> Option<&str> {
    let hex = digest.strip_prefix(ALGORITHM)?;
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (hex.len() == 64 && hex.bytes().all(is_hex)).then_some(hex)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn a_digest_is_of_the_bytes() {
        let empty = of(b"");
        assert_eq!(empty, "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(hex(&empty).map(str::len), Some(64));
    }

    #[rstest]
    #[case::other_algorithm("sha512:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")]
    #[case::short("sha256:e3b0")]
    #[case::upper_case("sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855")]
    #[case::path("sha256:../../../../../../../../../../../../../../../../../../../etc/passwd")]
    fn invalid_digests_have_no_hex(#[case] digest: &str) {
        assert_eq!(hex(digest), None);
    }
}
