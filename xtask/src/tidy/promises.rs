//! What the documents say is shown by a test is shown by a test: each name there is that of one.

use super::source::Source;
use anyhow::{Context, Result};
use std::path::Path;

/// Pages that name tests, as `` `file::name` ``.
const PAGES: &[&str] = &["docs/guarantees.md", "docs/threat-model.md"];
/// How far above its function a test's attribute may stand.
const ABOVE: usize = 6;

/// Every name that is none, as `path:line: what`.
///
/// # Errors
/// When a page cannot be read.
pub(super) fn check(root: &Path, files: &[Source], out: &mut Vec<String>) -> Result<()> {
    for page in PAGES {
        let text = std::fs::read_to_string(root.join(page)).with_context(|| (*page).to_owned())?;
        for (number, line) in text.lines().enumerate() {
            for name in names(line).filter(|name| !is_test(files, name)) {
                out.push(format!("{page}:{}: there is no test `{name}`", number + 1));
            }
        }
    }
    Ok(())
}

/// What stands between backticks and looks like the name of a test.
fn names(line: &str) -> impl Iterator<Item = &str> {
    let quoted = line.split('`').skip(1).step_by(2);
    quoted.filter(|text| {
        let plain = text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:".contains(c));
        plain && text.contains("::")
    })
}

fn is_test(files: &[Source], name: &str) -> bool {
    let Some((place, test)) = name.rsplit_once("::") else {
        return false;
    };
    let file = place.rsplit("::").next().unwrap_or(place);
    let (as_file, as_folder) = (format!("/{file}.rs"), format!("/{file}/"));
    let head = format!("fn {test}(");
    files
        .iter()
        .filter(|source| source.path.ends_with(&as_file) || source.path.contains(&as_folder))
        .any(|source| {
            let found = source.lines.iter().position(|line| line.contains(&head));
            found.is_some_and(|at| {
                let above = &source.lines[at.saturating_sub(ABOVE)..at];
                above
                    .iter()
                    .any(|line| line.contains("#[test]") || line.contains("::test"))
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_that_of_a_test_in_the_file_that_it_says() {
        let text = "#[test]\nfn it_holds() {}\nfn helper() {}\n\n\n\n\n\n#[tokio::test]\nasync fn it_waits() {}\n";
        let files = [Source::new("tests/it/life.rs".into(), text)];
        for (name, found) in [
            ("life::it_holds", true),
            ("it::life::it_holds", true),
            ("life::it_waits", true),
            ("life::it", false),
            ("death::it_holds", false),
        ] {
            assert_eq!(is_test(&files, name), found, "{name}");
        }
        let line = "| `life::it_holds`, `cargo xtask prove kills` | `CAP_BPF` | `a::b` |";
        assert_eq!(names(line).collect::<Vec<_>>(), ["life::it_holds", "a::b"]);
    }
}
