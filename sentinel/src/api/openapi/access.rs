//! What is said of logging in and out, of tokens and of pages.

use super::op::{Op, text};
use crate::api::login;

const HTML: &[&str] = &["text/html"];
const FILES: &[&str] = &["text/javascript", "text/css", "image/svg+xml"];

pub(in crate::api) fn index() -> Op {
    Op::new("access", "The dashboard").answers_as(200, HTML, "The page.")
}

pub(in crate::api) fn docs() -> Op {
    Op::new("access", "This document, to read").answers_as(200, HTML, "The page.")
}

pub(in crate::api) fn openapi() -> Op {
    Op::new("access", "This document").answers_any(200, "OpenAPI 3.1.")
}

pub(in crate::api) fn asset() -> Op {
    Op::new("access", "A file of the pages")
        .hole("name", "Of the file.", text(&["app.js"]))
        .answers_as(200, FILES, "The file.")
        .refuses(404, "There is no such file.")
}

pub(in crate::api) fn login_page() -> Op {
    Op::new("access", "The page to log in at").answers_as(200, HTML, "The page.")
}

pub(in crate::api) fn login_asset() -> Op {
    Op::new("access", "A file of that page")
        .hole("name", "Of the file.", text(&["login.js"]))
        .answers_as(200, FILES, "The file.")
        .refuses(404, "There is no such file.")
}

pub(in crate::api) fn log_in() -> Op {
    Op::new("access", "Log in")
        .says("With a token, or with the code of a one-time link: one of both.")
        .takes::<login::LoginDto>()
        .answers::<login::WhoDto>(200, "Who it is; the session is in the cookie.")
        .header(200, "Set-Cookie", "The session.")
        .refuses(401, "No such token or link.")
        .header(401, "WWW-Authenticate", "`Bearer`")
        .refuses(429, "Too many failures from this address.")
}

pub(in crate::api) fn log_out() -> Op {
    Op::new("access", "Log out")
        .answers_nothing(204, "The session is over.")
        .header(204, "Set-Cookie", "Takes the cookie away.")
        .refuses(422, "It was no session that asked.")
}

pub(in crate::api) fn session() -> Op {
    Op::new("access", "Who asks").answers::<login::SessionDto>(200, "Name and role, and from where.")
}

pub(in crate::api) fn tokens() -> Op {
    Op::new("access", "List tokens").answers::<login::TokensDto>(200, "All of them, without their secrets.")
}

pub(in crate::api) fn create_token() -> Op {
    Op::new("access", "Make a token")
        .takes::<login::NewTokenDto>()
        .answers::<login::MadeDto>(201, "The token; its text is told this once.")
}

pub(in crate::api) fn revoke_token() -> Op {
    Op::new("access", "Revoke a token")
        .hole("which", "Its name or identifier.", text(&["grafana"]))
        .answers::<login::TokenDto>(200, "The token, which opens nothing any more.")
        .refuses(404, "There is no such token.")
}

pub(in crate::api) fn login_link() -> Op {
    Op::new("access", "Make a one-time link to log in")
        .answers::<login::LinkDto>(201, "The link, and until when it holds.")
}
