//! What is said of the paths that show what was seen, decided and done.

use super::op::{Op, flag, only_true, target, text, uuid, uuids};
use crate::api::dto::{DecisionDto, PageDto, ProtectedDto, ReportsDto};
use crate::api::{allowlist, simulation};
use crate::store::{AuditEntry, AuditVerdict};
use crate::types::{Action, ActionStatus, Alert, Detector, Investigation, Severity};

pub(in crate::api) fn alerts() -> Op {
    Op::new("alerts", "List alerts")
        .window()
        .ip("Whose source is this address or within this prefix.")
        .words::<Severity>("severity", "Any of these severities.")
        .words::<Detector>("detector", "Of any of these detectors.")
        .answers::<PageDto<Alert>>(200, "A page, newest first.")
}

pub(in crate::api) fn alert() -> Op {
    Op::new("alerts", "Show an alert")
        .id("alert")
        .answers::<Alert>(200, "The alert.")
}

pub(in crate::api) fn investigations() -> Op {
    Op::new("investigations", "List investigations")
        .window()
        .ip("About this address or one within this prefix.")
        .query("alert", "Of this alert.", uuid())
        .words::<Severity>("risk", "That came to any of these risks.")
        .answers::<PageDto<Investigation>>(200, "A page, newest first.")
}

pub(in crate::api) fn investigation() -> Op {
    Op::new("investigations", "Show an investigation")
        .id("investigation")
        .answers::<Investigation>(200, "What was found out so far.")
}

pub(in crate::api) fn decisions() -> Op {
    Op::new("decisions", "List decisions")
        .window()
        .ip("Whose target is this address or prefix, or around or within it.")
        .query(
            "active",
            "`true`: only those in force; `false`: only the others.",
            flag(),
        )
        .query(
            "watched",
            "Only those that are over and whose targets are on probation.",
            only_true(),
        )
        .query("simulated", "Only those that were or are simulated.", only_true())
        .query(
            "alert",
            "That followed from these alerts, at most 100 with commas.",
            uuids(),
        )
        .answers::<PageDto<DecisionDto>>(200, "A page, newest first, each with what the kernel counted for it.")
}

pub(in crate::api) fn decision() -> Op {
    Op::new("decisions", "Show a decision")
        .id("decision")
        .answers::<DecisionDto>(200, "The decision, with what the kernel counted for it.")
}

pub(in crate::api) fn proof() -> Op {
    Op::new("decisions", "What a decision followed from")
        .says("A bundle that `sentinel verify` comes to again, also on another machine.")
        .id("decision")
        .answers_any(200, "The bundle.")
}

pub(in crate::api) fn simulation() -> Op {
    Op::new("decisions", "What production would have done")
        .query(
            "since",
            "How far back: an RFC 3339 time or a duration; a day where absent.",
            text(&["24h"]),
        )
        .answers::<simulation::ReportDto>(200, "By decision, and to whom.")
}

pub(in crate::api) fn actions() -> Op {
    Op::new("actions", "List actions")
        .window()
        .ip("Whose target is this address or prefix, or around or within it.")
        .query("decision", "Of this decision.", uuid())
        .word::<ActionStatus>("status", "That got as far as this.")
        .answers::<PageDto<Action>>(200, "A page, newest first.")
}

pub(in crate::api) fn action() -> Op {
    Op::new("actions", "Show an action")
        .id("action")
        .answers::<Action>(200, "The action.")
}

pub(in crate::api) fn audit() -> Op {
    Op::new("system", "List the audit")
        .says("Every decision, action and command, chained by hashes.")
        .window()
        .answers::<PageDto<AuditEntry>>(200, "A page, newest first.")
}

pub(in crate::api) fn verify_audit() -> Op {
    Op::new("system", "Check the audit's chain").answers::<AuditVerdict>(200, "What the check found.")
}

pub(in crate::api) fn reports() -> Op {
    Op::new("system", "List the reports that were made by themselves").answers::<ReportsDto>(200, "The latest first.")
}

pub(in crate::api) fn kept_report() -> Op {
    Op::new("system", "A report that was made by itself")
        .hole("name", "As the list has it.", text(&["sentinel-weekly-2026-11-23.pdf"]))
        .answers_any(200, "The document.")
        .answers_as(200, &["text/html", "application/pdf"], "")
        .header(200, "Content-Disposition", "The name of the file.")
        .refuses(404, "There is no such report.")
}

pub(in crate::api) fn protected() -> Op {
    Op::new("allowlist", "Everything that no decision may reach")
        .answers::<ProtectedDto<'static>>(200, "Addresses and prefixes with the guard that keeps them.")
}

pub(in crate::api) fn allowlist() -> Op {
    Op::new("allowlist", "List the allowlist")
        .answers::<allowlist::ListDto>(200, "The settings' entries and the operators'.")
}

pub(in crate::api) fn allowlist_check() -> Op {
    Op::new(
        "allowlist",
        "Whether somebody is protected, and what is in force on them",
    )
    .must("ip", "An address or prefix.", target())
    .answers::<allowlist::CheckDto>(200, "Guards and decisions.")
}
