//! Settings that look like an idle timeout, but are not in the catalog.
//!
//! Apps that set their timeout in code often read it from a variable, such as `SERVER_KEEP_ALIVE_TIMEOUT_MS`; in that
//! case the default may not apply.

use super::Reader;

impl Reader<'_, '_> {
    /// The first variable or flag that looks like an idle timeout and is not in the entry.
    pub(in crate::servers) fn look_alike(&self) -> Option<String> {
        let variables = self.environment().names();
        let variable = variables.into_iter().find(|name| looks_alike(name) && !self.lists(name));
        variable.map(str::to_owned).or_else(|| {
            let words = self.recognition.arguments.iter().chain(&self.recognition.options);
            let flags = words.filter(|word| word.prefix().starts_with('-'));
            let mut names = flags.map(|word| word.prefix().split('=').next().unwrap_or_default());
            names.find(|name| looks_alike(name) && !self.lists(name)).map(str::to_owned)
        })
    }

    /// Whether the entry has a setting with this name.
    fn lists(&self, name: &str) -> bool {
        let server = self.recognition.server;
        let listed =
            server.listeners.iter().flat_map(|listener| listener.port.iter().chain(&listener.settings));
        let mut settings = server.settings.iter().chain(listed);
        let plain = plain(name);
        settings.any(|setting| {
            setting.names().any(|known| self.named(known, name) || self::plain(known) == plain)
        })
    }
}

/// Whether it matches `*keep?alive*` or `*idle?timeout*`, with any separator.
fn looks_alike(name: &str) -> bool {
    let plain = plain(name);
    plain.contains("keepalive") || plain.contains("idletimeout") || plain.contains("timeoutidle")
}

/// Keeps only letters and digits, in lower case.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::looks_alike;

    #[rstest]
    #[case::underscores("SERVER_KEEP_ALIVE_TIMEOUT_MS", true)]
    #[case::two_words("APP__KEEP_ALIVE_TIMEOUT", true)]
    #[case::one_word("http.keepalive", true)]
    #[case::flag("--idle-timeout", true)]
    #[case::camel_case("--httpIdleTimeout", true)]
    #[case::headers("SERVER_HEADERS_TIMEOUT_MS", false)]
    #[case::pool("MAX_IDLE_CONNS", false)]
    fn names(#[case] name: &str, #[case] expected: bool) {
        assert_eq!(looks_alike(name), expected);
    }
}
