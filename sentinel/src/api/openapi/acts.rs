//! What is said of the paths by which an operator acts.

use super::op::{Op, count, duration, flag, one_of, only_true, target, text};
use crate::api::dto::{DecisionDto, DeletedDto, NewDecisionDto, NewReportDto};
use crate::api::{acting, allowlist, notifications};
use crate::types::Imported;

/// How long an answer may take, and what a 503 then means.
const DURABLE: &str = "Answered after the kernel was read back and the disk has it; 503 says what of that is missing.";

pub(in crate::api) fn add() -> Op {
    Op::new("decisions", "Block, limit, redirect or isolate")
        .says(DURABLE)
        .takes::<NewDecisionDto>()
        .answers::<DecisionDto>(201, "The decision as it stands, read back from the kernel.")
        .header(201, "Location", "Of the decision.")
        .refuses(409, "A guard refused; `guard` names it.")
}

pub(in crate::api) fn delete_many() -> Op {
    Op::new("decisions", "Take decisions back")
        .says("Either `target` or `all=true` is needed.")
        .query("target", "Those on exactly this address or prefix.", target())
        .query("all", "Every one.", only_true())
        .query("forget", "Leave nothing behind, no probation either.", flag())
        .query("first", "Tell only of so many of them.", count())
        .answers::<DeletedDto>(200, "What was taken back, read back from the kernel.")
        .refuses(404, "No active decision matches.")
}

pub(in crate::api) fn delete_one() -> Op {
    Op::new("decisions", "Take a decision back")
        .id("decision")
        .query("forget", "Leave nothing behind, no probation either.", flag())
        .answers::<DeletedDto>(200, "What was taken back, read back from the kernel.")
}

pub(in crate::api) fn confirm() -> Op {
    Op::new("decisions", "Confirm a provisional decision")
        .id("decision")
        .answers::<DecisionDto>(200, "The decision with its full end, read back from the kernel.")
        .refuses(422, "It is not provisional.")
}

pub(in crate::api) fn import() -> Op {
    let list = text(&["value,duration,reason\n203.0.113.7,4h,ssh\n"]);
    Op::new("decisions", "Import a list of decisions")
        .says("All lines or, where `skip_bad` says so, the good ones; 32 MiB at most, one list at a time.")
        .must("format", "How the list is written.", one_of(&["csv", "json", "values"]))
        .query(
            "skip_bad",
            "Carry out the good lines though others are refused.",
            flag(),
        )
        .query(
            "type",
            "Of lines that do not say it: `block`, `rate_limit` or `redirect`.",
            text(&["block"]),
        )
        .query("duration", "Of lines that do not say it.", duration())
        .query("reason", "Of lines that do not say it.", text(&[]))
        .body(&["application/json", "text/csv"], &list)
        .answers::<Imported>(200, "What came of it, read back from the kernel.")
        .refuses(409, "A guard refused.")
        .refuses(404, "Nothing to do it with.")
        .refuses(
            422,
            "Lines are refused, and nothing was imported; `lines` has the first of them.",
        )
}

pub(in crate::api) fn revert() -> Op {
    Op::new("actions", "Undo an action")
        .says("Takes back the decision it carries out.")
        .id("action")
        .answers::<DeletedDto>(200, "What was taken back, read back from the kernel.")
        .refuses(409, "It is over already.")
}

pub(in crate::api) fn report() -> Op {
    Op::new("system", "What happened in a period, as a document")
        .says("Changes nothing; one is made at a time.")
        .takes::<NewReportDto>()
        .answers_any(
            200,
            "The document; as JSON with `version`, which moves when a field changes its meaning or goes.",
        )
        .answers_as(200, &["text/html", "application/pdf"], "")
        .header(200, "Content-Disposition", "The name of the file.")
        .refuses(429, "Another report is being made.")
}

pub(in crate::api) fn notifications() -> Op {
    Op::new(
        "system",
        "Who is told, how it stands with each channel, and the latest messages",
    )
    .answers::<notifications::NotificationsDto>(200, "How it is.")
}

pub(in crate::api) fn notifications_test() -> Op {
    Op::new("system", "Send a test message by one channel, or by all that are configured")
        .says("Goes past what waits. The test of a channel says whether the other side took it, and what to do where it did not.")
        .takes::<notifications::TestDto>()
        .answers::<notifications::TestedDto>(200, "What came of it; not taken is no error of the request.")
}

pub(in crate::api) fn acting_status() -> Op {
    Op::new("system", "Whether decisions are carried out").answers::<acting::ActingDto>(200, "How it is.")
}

pub(in crate::api) fn acting_wish() -> Op {
    Op::new("system", "Stop carrying anything out, or go on")
        .says(DURABLE)
        .takes::<acting::WishDto>()
        .answers::<acting::ActingDto>(200, "How it is now, read back from the kernel.")
}

pub(in crate::api) fn allow() -> Op {
    Op::new("allowlist", "Put somebody on the allowlist")
        .says("Ends whatever is in force on them.")
        .takes::<allowlist::NewDto>()
        .answers::<allowlist::AddedDto>(201, "The entry, and the decisions that ended with it.")
        .answers::<allowlist::AddedDto>(200, "It was there before, and was changed.")
        .refuses(409, "A guard refused.")
}

pub(in crate::api) fn disallow() -> Op {
    Op::new("allowlist", "Take somebody off the allowlist")
        .must("target", "Exactly this entry.", target())
        .answers::<allowlist::EntryDto>(200, "The entry as it was.")
        .refuses(404, "There is no such entry.")
}
