//! Templates of nginx.conf in the official images.
//!
//! Renders the text of a template.

/// Expands variables in a template as the image's ENTRYPOINT does: only those that the container sets (docker-nginx
/// `20-envsubst-on-templates.sh`).
///
/// # Errors
///
/// Returns why the value of a variable is unknown.
pub(in crate::servers::settings::files) fn envsubst(
    text: &str,
    variable: &dyn Fn(&str) -> Option<Result<String, String>>,
) -> Result<String, String> {
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        replaced.push_str(before);
        let braced = after.strip_prefix('{').and_then(|after| after.split_once('}'));
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
        let (name, behind) = braced.unwrap_or_else(|| after.split_at(end));
        match variable(name).transpose()? {
            Some(value) => {
                replaced.push_str(&value);
                rest = behind;
            }
            None => {
                replaced.push('$');
                rest = after;
            }
        }
    }
    replaced.push_str(rest);
    Ok(replaced)
}
