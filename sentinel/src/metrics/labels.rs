//! Labels of the families: every set is bounded by configuration or by an enum.

use prometheus_client::encoding::EncodeLabelSet;

/// Labels of `sentinel_alerts_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AlertLabels {
    /// [`crate::types::Detector::as_str`].
    pub detector: &'static str,
    /// [`crate::types::Severity::as_str`].
    pub severity: &'static str,
}

/// Labels of `sentinel_decisions_active`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub struct ActiveLabels {
    /// [`crate::types::ActionKind::as_str`].
    pub action: &'static str,
    /// [`crate::types::Origin::as_str`].
    pub origin: &'static str,
}

/// Labels of `sentinel_decisions_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DecisionLabels {
    /// [`crate::types::ActionKind::as_str`].
    pub action: &'static str,
    /// [`crate::types::Severity::as_str`], or `none` for a person's decision.
    pub severity: &'static str,
    /// Risk of the investigation; `unknown` where there was none.
    pub risk: &'static str,
    /// `true` or `false`.
    pub simulated: &'static str,
}

/// Labels of `sentinel_guard_vetoes_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct GuardLabels {
    /// [`Veto::guard`].
    pub guard: String,
}

/// Labels of `sentinel_logins_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LoginLabels {
    /// `token` or `link`.
    pub with: &'static str,
    /// `accepted` or `refused`.
    pub result: &'static str,
}

/// Labels of `sentinel_actions_reverted_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CauseLabels {
    /// `expired`, `operator`, `guard`, …
    pub cause: &'static str,
}

/// Labels of `sentinel_flow_records_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OriginLabels {
    /// `ring`, or `sweep` where a quiet flow's last words were fetched.
    pub origin: &'static str,
}

/// Labels of `sentinel_investigations_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StateLabels {
    /// [`crate::types::InvestigationState::as_str`].
    pub state: &'static str,
}

/// Labels of `sentinel_feed_flows_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FeedFlowLabels {
    /// `out`: opened from inside; `in`: opened by the listed address.
    pub direction: &'static str,
}

/// Labels of `sentinel_model_flows_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LevelLabels {
    /// `judged`: all of them; `suspicious` and `flag`: those whose score reached that much.
    pub level: &'static str,
}

/// Labels of `sentinel_intel_requests_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct IntelLabels {
    /// Name of the source.
    pub source: &'static str,
    /// `ok`, or why there was no answer: the words of `intel::IntelError::label`, and `busy`.
    pub result: &'static str,
}

/// Labels of `sentinel_intel_quota_remaining` and `sentinel_intel_cache_hits_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SourceLabels {
    /// Name of the source.
    pub source: &'static str,
}

/// Labels of `sentinel_feed_entries`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FeedLabels {
    /// The feed's name in configuration.
    pub feed: String,
}

/// Labels of `sentinel_feed_fetches_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FeedFetchLabels {
    /// The feed's name in configuration.
    pub feed: String,
    /// `accepted`, `unchanged`, `refused` (it came and was not believed) or `failed` (nothing came).
    pub result: &'static str,
}

/// Labels of `sentinel_isolation_failures_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StepLabels {
    pub(super) step: &'static str,
}

/// Labels of `sentinel_isolation_restores_total` and `sentinel_confirmations_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RestoreLabels {
    pub(super) result: &'static str,
}

/// Labels of `sentinel_learning_journal_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct JournalLabels {
    /// `resumed`: gone on with after a restart; `cut`: without its last bytes; `refused`: set aside; `rewritten`: its bound
    /// was reached; `unwritten`: the disk took nothing.
    pub event: &'static str,
}

/// Labels of `sentinel_export_events_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ExportLabels {
    pub(super) sink: &'static str,
    pub(super) result: &'static str,
}

/// Labels of `sentinel_model_info`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ModelLabels {
    pub(super) name: &'static str,
    pub(super) version: String,
    pub(super) sha256: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct BuildLabels {
    pub(super) version: &'static str,
    pub(super) architecture: &'static str,
    pub(super) profile: &'static str,
}
