use super::*;

fn error(text: &str) -> YamlError {
    documents(text).into_iter().find_map(Result::err).unwrap()
}

#[test]
fn empty_documents_are_skipped() {
    assert!(documents("").is_empty());
    assert!(documents("# only this\n").is_empty());
    assert_eq!(documents("---\n---\n# c\n---\na: 1\n...\n---\n").len(), 1);
}

#[test]
fn a_broken_document_does_not_hide_the_next() {
    let documents = documents("a: 1\n---\nb: [1, 2\n---\nc: 'x\n---\nd: 4\n");
    let good: Vec<bool> = documents.iter().map(Result::is_ok).collect();
    assert_eq!(good, [true, false, false, true]);
    assert_eq!(documents[3].as_ref().unwrap().line, 7);
}

#[test]
fn tabs_are_named() {
    let error = error("a:\n\tb: 1\n");
    assert_eq!((error.line, error.help), (2, Some("indent YAML with spaces instead of tabs")));
}

#[test]
fn anchors_end_before_they_are_used() {
    assert_eq!(error("a: &a\n  b: *a\n").message, "the anchor contains itself");
    assert_eq!(error("a: *b\n").line, 1);
}

#[test]
fn depth_is_bounded_even_through_anchors() {
    use std::fmt::Write;
    let mut text = String::from("a0: &a0 [x]\n");
    for level in 1..200 {
        writeln!(text, "a{level}: &a{level} [*a{}]", level - 1).unwrap();
    }
    assert_eq!(error(&text).message, "nested more than 100 levels deep");
}

#[test]
fn keys_that_json_does_not_have_are_refused() {
    assert_eq!(error("{a: b}: c\n").message, "the key of a map is a map, not a string");
    assert_eq!(error("<<: 3\n").message, "`<<` needs a map or a list of maps");
}
