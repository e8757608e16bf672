//! Every noun as it goes out, held against a file: whoever changes a shape changes the contract, and sees it here.
//!
//! `BLESS=1 cargo test -p sentinel --lib golden` writes the files anew.

use super::document::Strict;
use super::*;
use crate::api::dto::{DecisionDto, DeletedDto, HealthDto, SampleDto, StatsDto};
use crate::api::error::Problem;
use crate::store::{AuditEntry, AuditVerdict};
use crate::types::{
    Allowed, Answer, Basis, BreakerState, BreakerStatus, CacheStatus, Check, CheckVerdict, DriftTold, Explanation,
    FeedInKernel, GeoStatus, Indicator, IntelVerdict, Investigation, InvestigationState, LastError, LearningLevel,
    QuotaStatus, RealisedLevel, RedisStatus, Share, SourceStatus, Standing, Token, TokenId,
};
use std::path::Path;

/// One of each noun, with everything in it that can be.
pub(super) struct Samples {
    pub(super) alert: Alert,
    pub(super) investigation: Investigation,
    pub(super) decision: Decision,
    pub(super) action: Action,
    pub(super) allowed: Allowed,
}

impl Samples {
    pub(super) fn new(mint: &mut Mint, at: Timestamp) -> Self {
        let former = mint.decision(at);
        let alert = Alert {
            standing: Some(Standing {
                proven: true,
                good_sessions: 2,
                good_for_ms: 86_400_000,
                connected: false,
            }),
            former: Some(former),
            explanation: Some(explanation()),
            ..alert(mint, at)
        };
        let investigation = Investigation {
            state: InvestigationState::Complete,
            answers: answers(at),
            revisions: 1,
            country: Some("NL".into()),
            network: Some("AS64500 Example Net".into()),
            network_prefix: Some("203.0.113.0/24".parse().unwrap()),
            risk: crate::types::Risk {
                contradictions: vec!["abuseipdb calls it malicious, greynoise benign".into()],
                ..crate::types::testing::risk(Severity::High, 2)
            },
            ..crate::types::testing::investigation(&alert, Severity::High, 2)
        };
        let decision = Decision {
            target: "203.0.113.0/24".parse().unwrap(),
            action: ActionKind::RateLimit,
            terms: Terms {
                rate: Some(Rate {
                    packets: 100,
                    bytes: 1 << 20,
                    burst_ms: 1500,
                    each: true,
                    openings: true,
                }),
                egress: true,
                watch_until: Some(at.after(Duration::from_hours(5))),
                reapply_ms: 3_600_000,
            },
            until_if_confirmed: Some(at.after(Duration::from_hours(8))),
            simulated: true,
            risk: Some(Severity::High),
            basis: Some(Basis::IndependentSources),
            investigation: Some(investigation.id),
            checks: vec![Check {
                guard: "collateral".into(),
                verdict: CheckVerdict::Softened,
                reason: "12 peers that behaved well would lose service; limited instead".into(),
            }],
            collateral: Some(12),
            veto: Some(Veto {
                guard: "gateway".into(),
                reason: "203.0.113.1 is the default gateway".into(),
            }),
            ended_at: Some(at.after(Duration::from_mins(3))),
            ..decision(mint, &alert, at)
        };
        let action = action(mint, &decision);
        let allowed = Allowed {
            target: "198.51.100.0/24".parse().unwrap(),
            comment: "our scanners".into(),
            actor: "ann".into(),
            at,
            expires_at: Some(at.after(Duration::from_hours(12))),
        };
        Self {
            alert,
            investigation,
            decision,
            action,
            allowed,
        }
    }
}

fn explanation() -> Explanation {
    Explanation {
        model: "cd".repeat(32),
        score: 0.75,
        threshold: 0.5,
        probability: 0.99,
        base: 0.25,
        method: "shapley".into(),
        shares: vec![Share {
            name: "ws_ports".into(),
            value: 41.0,
            unit: "ports".into(),
            share: 0.5,
            sentence: "ws_ports is 41 ports: adds 0.500".into(),
        }],
        vector: vec![41.0, 0.5],
        summary: "Looks like scan: score 0.750 exceeds 0.500".into(),
        counterfactual: Some("With ws_ports at 3 ports instead of 41 ports, the score would be 0.250".into()),
    }
}

fn answers(at: Timestamp) -> Vec<Answer> {
    let mut told = Indicator::new("abuseipdb", "203.0.113.7".parse().unwrap(), at);
    told.judge(IntelVerdict::Malicious, 0.9, 0.8);
    told.category("ssh brute force");
    told.fact("totalReports", &97);
    told.first_seen = Some(at.before(Duration::from_hours(48)));
    told.last_seen = Some(at.before(Duration::from_hours(1)));
    vec![
        Answer {
            source: "abuseipdb".into(),
            indicator: Some(told),
            result: "fresh".into(),
            reason: String::new(),
            took_ms: 81,
        },
        Answer {
            source: "greynoise".into(),
            indicator: None,
            result: "timeout".into(),
            reason: "it did not answer within 3 s".into(),
            took_ms: 3000,
        },
    ]
}

fn intel(at: Timestamp) -> IntelReport {
    let source = SourceStatus {
        name: "abuseipdb".into(),
        enabled: true,
        key: true,
        weight: 0.5,
        docs: "https://docs.abuseipdb.com".into(),
        breaker: BreakerStatus {
            state: BreakerState::HalfOpen,
            failures: 5,
            retry_in_ms: 1500,
            cause: "timeout".into(),
        },
        quota: vec![QuotaStatus {
            period: "day".into(),
            spent: 12,
            allowed: 1000,
            reserve: 100,
            resets_at: at.after(Duration::from_hours(24)),
        }],
        paused_until: Some(at.after(Duration::from_mins(1))),
        cache_hits: 4,
        cache_misses: 3,
        cache_stale: 2,
        cache_entries: 9,
        requests: BTreeMap::from([("ok".into(), 11), ("timeout".into(), 1)]),
        last_answer_at: Some(at),
        last_error: Some(LastError {
            at,
            result: "timeout".into(),
            reason: "it did not answer within 3 s".into(),
        }),
    };
    let kernel = FeedInKernel {
        loaded: true,
        simulated: true,
        entries: 900,
        left_out: 2,
        until: Some(at.after(Duration::from_hours(2))),
        dropped: 5,
        would_drop: 6,
        error: Some("the list does not fit; raise `kernel.feeds`".into()),
        note: Some("it is large".into()),
    };
    IntelReport {
        status: IntelStatus {
            enabled: true,
            sources: vec![source],
            cache: CacheStatus {
                entries: 9,
                capacity: 10_000,
                ..CacheStatus::default()
            },
            redis: Some(RedisStatus {
                up: false,
                cause: "connection refused; start it".into(),
                ..RedisStatus::default()
            }),
        },
        feeds: vec![FeedStatus {
            name: "ipsum".into(),
            fetched_at: Some(at),
            etag: Some("\"abc\"".into()),
            last_error: Some("404".into()),
            kernel: Some(kernel),
            ..FeedStatus::default()
        }],
        geoip: vec![GeoStatus {
            database: "country".into(),
            path: "/var/lib/GeoIP/GeoLite2-Country.mmdb".into(),
            kind: Some("GeoLite2-Country".into()),
            built_at: Some(at),
            error: None,
        }],
    }
}

fn learning(at: Timestamp) -> Learning {
    let level = |name: &str| LearningLevel {
        name: name.into(),
        alpha: 0.001,
        missing: 9_880,
    };
    Learning {
        since: Some(at),
        resumed: Some(at.after(Duration::from_mins(1))),
        warning: Some("it would not survive a restart".into()),
        seen: 130,
        kept: 120,
        left_out: 10,
        suspects: 1,
        levels: vec![level("suspicious"), level("flag")],
        model: "ab".repeat(32),
        calibrated: true,
        realised: vec![RealisedLevel {
            name: "flag".into(),
            alpha: 0.001,
            judged: 1000,
            reached: 1,
        }],
        drift: Some(DriftTold {
            at,
            flows: 5000,
            alarm: true,
            moved: vec![("ws_ports".into(), 0.25)],
            advice: "learn again".into(),
        }),
    }
}

fn stats(at: Timestamp) -> Stats {
    let mut counters = [0; COUNTERS];
    for (place, counter) in counters.iter_mut().enumerate() {
        *counter = place as u64;
    }
    Stats {
        at,
        interfaces: vec![InterfaceStats {
            name: "eth0".into(),
            xdp_mode: "generic",
            egress: true,
            fallback: Some("the driver has no XDP".into()),
            trouble: None,
            counters,
        }],
        maps: BTreeMap::from([(
            "BLOCK4".into(),
            MapUse {
                entries: 3,
                capacity: 131_072,
            },
        )]),
        flows_active: 412,
        sources_active: 57,
        unprotected: Duration::ZERO,
        lost: BTreeMap::from([(("ring", "full"), 2)]),
    }
}

fn token(at: Timestamp) -> Token {
    Token {
        id: TokenId("00112233445566ff".into()),
        name: "grafana".into(),
        role: Role::Viewer,
        hash: "$argon2id$secret".into(),
        created_at: at,
        created_by: "ann".into(),
        expires_at: Some(at.after(Duration::from_hours(24))),
        revoked_at: Some(at),
        used_at: None,
    }
}

fn json<T: serde::Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap()
}

/// File, shape in the document, value.
fn all() -> Vec<(&'static str, &'static str, Value)> {
    let samples = Samples::new(&mut Mint::Counted(0), T0);
    let later = T0.after(Duration::from_secs(90));
    let stop = Stop {
        at: T0,
        actor: "ann".into(),
        reason: "a drill".into(),
    };
    let stopped = Acting { stopped: Some(stop) };
    let hits = Hits {
        packets: 7,
        bytes: 420,
        would_packets: 1,
        would_bytes: 60,
        first_hit: Some(T0),
        last_hit: Some(later),
    };
    let held = Decision {
        simulated: false,
        ..samples.decision.clone()
    };
    let counted = DecisionDto::new(held, hits, &stopped);
    let mut health = Health::default();
    health.ok(Component::Store, "wal");
    health.degrade(Component::Kernel, "eth0 runs in generic mode", "use another driver");
    let config = Config::default();
    let vetoed = CommandError::Vetoed(Veto {
        guard: "gateway".into(),
        reason: "192.0.2.1 is the default gateway".into(),
    });
    let bad = vec![BadLine {
        line: 3,
        problem: "it is the default gateway's".into(),
        guard: Some("gateway".into()),
    }];
    let refused = ImportError::Bad {
        lines: bad.clone(),
        total: 1,
    };
    let imported = Imported {
        imported: 12,
        replaced: 2,
        repeated: 1,
        skipped: 1,
        bad,
        simulated: true,
    };
    let mut health = json(&HealthDto::new(&health, stopped.clone(), &config, T0, later));
    let mut stats = json(&StatsDto::new(&stats(T0), stopped, &config, T0, [later, later]));
    // Of the release, not of the shape.
    for value in [&mut health, &mut stats] {
        value["version"] = json!("0.0.0");
    }
    vec![
        ("alert", "Alert", json(&samples.alert)),
        ("investigation", "Investigation", json(&samples.investigation)),
        ("decision", "CountedDecision", json(&counted)),
        ("action", "Action", json(&samples.action)),
        (
            "deleted",
            "Deleted",
            json(&DeletedDto {
                deleted: vec![samples.decision.clone()],
                total: 1,
                covering: vec![samples.decision],
                held_back: None,
                beside: vec![Action {
                    kind: ActionKind::IsolateContainer,
                    ..samples.action
                }],
            }),
        ),
        (
            "allowlist_entry",
            "AllowlistEntry",
            json(&allowlist::EntryDto::from(samples.allowed)),
        ),
        (
            "protected",
            "Protected",
            json(&Protected {
                target: "192.0.2.1/32".parse().unwrap(),
                guard: "gateway".into(),
                reason: "default gateway of eth0".into(),
            }),
        ),
        (
            "audit_entry",
            "AuditEntry",
            json(&AuditEntry {
                seq: 7,
                at: T0,
                actor: "ann".into(),
                verb: "api.decision.add".into(),
                subject: "203.0.113.7".into(),
                detail: "decision 019b76da-a800-7000-8000-000000000001".into(),
                hash: "ab".repeat(32),
            }),
        ),
        (
            "audit_verdict",
            "AuditVerdict",
            json(&AuditVerdict {
                intact: 6,
                pruned: 0,
                head: "ab".repeat(32),
                broken: Some("row 7 was changed".into()),
            }),
        ),
        ("token", "Token", json(&login::TokenDto::told(token(T0), T0))),
        ("intel", "IntelReport", json(&intel(T0))),
        ("learning", "Learning", json(&learning(T0))),
        ("health", "Health", health),
        ("stats", "Stats", stats),
        (
            "sample",
            "Sample",
            json(&SampleDto {
                at: T0,
                passed: 1,
                dropped: 2,
                would_drop: 3,
                bytes: 4,
            }),
        ),
        ("imported", "Imported", json(&imported)),
        ("problem", "Problem", json(&Problem::from(vetoed))),
        ("problem_of_a_list", "Problem", json(&Problem::from(refused))),
    ]
}

#[test]
fn nouns_go_out_as_their_files_say_and_as_the_document_does() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/testdata/golden");
    let bless = std::env::var_os("BLESS").is_some();
    let strict = Strict::new();
    let mut names = Vec::new();
    for (name, shape, value) in all() {
        let path = directory.join(format!("{name}.json"));
        let text = serde_json::to_string_pretty(&value).unwrap() + "\n";
        if bless {
            std::fs::write(&path, &text).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            text == golden,
            "{name} is no longer as {} says. If the contract is to change, BLESS=1 writes it anew:\n{text}",
            path.display()
        );
        let schema = json!({ "$ref": format!("#/components/schemas/{shape}") });
        assert_eq!(strict.faults(&schema, &value), Vec::<String>::new(), "{name}");
        names.push(format!("{name}.json"));
    }
    let mut there: Vec<String> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    there.sort();
    names.sort();
    assert_eq!(there, names, "a file of a noun that is gone");
}
