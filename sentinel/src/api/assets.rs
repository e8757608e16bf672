//! The dashboard: static files, embedded, and the headers that keep scripts of others out of it.

use super::error::Problem;
use axum::extract::Path;
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

/// What the browser gets: pages, parts and the libraries under `vendor/`, as they are in the repository.
#[derive(RustEmbed)]
#[folder = "src/api/web"]
struct Web;

/// Sent with every answer, whatever it is.
pub(super) const SECURITY_HEADERS: &[(&str, &str)] = &[
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
];

// A page of an earlier release must not talk to this one: ask each time, files are small and near.
const FRESH: (HeaderName, &str) = (header::CACHE_CONTROL, "no-cache");

/// Pages, which are asked for by their own paths.
const PAGES: &[&str] = &["docs.html", "index.html", "login.html"];

/// What of the files anybody may have.
const OPEN: &[&str] = &["login.js", "style.css", "icon.svg"];

fn file(name: &str) -> Option<Response> {
    let media = match name.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => return None,
    };
    let content = Web::get(name)?.data;
    Some(([(header::CONTENT_TYPE, media), FRESH], content).into_response())
}

fn page(name: &str) -> Response {
    file(name).unwrap_or_else(|| Problem::internal(&"the page is not embedded").into_response())
}

pub(super) async fn index() -> Response {
    page("index.html")
}

/// The page that shows `/openapi.json` to people.
pub(super) async fn docs() -> Response {
    page("docs.html")
}

/// The page of the log-in; all that it loads is served beside it, since nobody is logged in yet.
pub(super) fn login_page() -> Response {
    page("login.html")
}

pub(super) async fn login_asset(Path(name): Path<String>) -> Result<Response, Problem> {
    let open = OPEN.contains(&name.as_str()).then(|| file(&name)).flatten();
    open.ok_or_else(|| Problem::not_found("there is no such file of the log-in"))
}

pub(super) async fn asset(Path(name): Path<String>) -> Result<Response, Problem> {
    let known = (!PAGES.contains(&name.as_str())).then(|| file(&name)).flatten();
    known.ok_or_else(|| Problem::not_found("there is no such file of the dashboard"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn libraries_are_what_was_vendored_and_nothing_else() {
        for folder in ["src/api/web/vendor", "src/api/testdata/axe"] {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
            let sums = std::fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
            let mut named: Vec<&str> = Vec::new();
            for line in sums.lines() {
                let (sum, name) = line.split_once("  ").unwrap();
                let digest = Sha256::digest(std::fs::read(folder.join(name)).unwrap());
                assert_eq!(crate::types::hex(&digest), sum, "{name}: run `cargo xtask vendor-web`");
                named.push(name);
            }
            let mut there: Vec<String> = std::fs::read_dir(&folder)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name != "SHA256SUMS")
                .collect();
            there.sort();
            named.sort_unstable();
            assert_eq!(there, named);
        }
    }

    #[test]
    fn every_import_of_a_script_is_served() {
        for name in Web::iter().filter(|name| name.ends_with("js")) {
            let text = String::from_utf8(Web::get(&name).unwrap().data.into_owned()).unwrap();
            let imports = text.split("from\"").chain(text.split("from \"")).skip(1);
            for import in imports.filter_map(|rest| rest.split_once('"')).map(|(path, _)| path) {
                if !import.starts_with('.') {
                    continue;
                }
                let base = std::path::Path::new(&*name).parent().unwrap();
                let mut parts: Vec<&str> = base.iter().filter_map(|part| part.to_str()).collect();
                for part in import.split('/') {
                    match part {
                        "." => {}
                        ".." => drop(parts.pop()),
                        part => parts.push(part),
                    }
                }
                let path = parts.join("/");
                assert!(file(&path).is_some(), "{name} imports {import}");
            }
        }
    }
}
