//! Image references, as container runtimes parse them.
//!
//! Parses `registry:5000/shop/cart:3@sha256:...` into an [`ImageRef`].

use std::borrow::Cow;

/// A parsed image reference. The digest is ignored.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ImageRef<'t> {
    /// The repository, with the registry if it is written.
    pub repository: &'t str,
    /// The tag; empty if there is none.
    pub tag: &'t str,
}

impl<'t> ImageRef<'t> {
    /// Parses a reference.
    pub fn of(text: &'t str) -> Self {
        let text = text.split_once('@').map_or(text, |(text, _digest)| text);
        match text.rsplit_once(':') {
            // A colon before a slash separates the port of the registry.
            Some((repository, tag)) if !tag.contains('/') => Self { repository, tag },
            Some(_) | None => Self { repository: text, tag: "" },
        }
    }

    /// The repository with the registry: `nginx` is `docker.io/library/nginx`.
    pub fn qualified(self) -> Cow<'t, str> {
        let name = self.repository;
        if name.is_empty() {
            return name.into();
        }
        let (host, path) = match name.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
            Some(_) | None => ("docker.io", name),
        };
        match host {
            "docker.io" | "index.docker.io" | "registry-1.docker.io" => {
                let library = if path.contains('/') { "" } else { "library/" };
                format!("docker.io/{library}{path}").into()
            }
            _ => name.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::short("nginx", "nginx", "", "docker.io/library/nginx")]
    #[case::tag("nginx:1.27", "nginx", "1.27", "docker.io/library/nginx")]
    #[case::namespace("bitnami/nginx:1", "bitnami/nginx", "1", "docker.io/bitnami/nginx")]
    #[case::docker_io("docker.io/nginx", "docker.io/nginx", "", "docker.io/library/nginx")]
    #[case::index("index.docker.io/a/b:1", "index.docker.io/a/b", "1", "docker.io/a/b")]
    #[case::registry("example.com:5000/cart", "example.com:5000/cart", "", "example.com:5000/cart")]
    #[case::registry_and_tag(
        "example.com:5000/cart:3",
        "example.com:5000/cart",
        "3",
        "example.com:5000/cart"
    )]
    #[case::local("localhost/x:1", "localhost/x", "1", "localhost/x")]
    #[case::digest("example.com:5000/x@sha256:00", "example.com:5000/x", "", "example.com:5000/x")]
    #[case::tag_and_digest("nginx:1.27@sha256:00", "nginx", "1.27", "docker.io/library/nginx")]
    #[case::empty("", "", "", "")]
    fn references(#[case] text: &str, #[case] repository: &str, #[case] tag: &str, #[case] qualified: &str) {
        let image = ImageRef::of(text);
        assert_eq!(image, ImageRef { repository, tag });
        assert_eq!(image.qualified(), qualified);
    }
}
