//! Short hashes for the names of objects.

/// The first 8 hexadecimal digits of SHA-256, which the Helm chart can compute, too.
pub(crate) fn short(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(short("abc"), "ba7816bf");
    }
}
