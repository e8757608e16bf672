//! Paging through a list that lives: whoever was there at the start is seen once, whatever comes and ends meanwhile.

use super::*;
use crate::types::{Ended, EndedOne};
use proptest::prelude::*;

/// What happens between two pages.
#[derive(Clone, Debug)]
enum Meanwhile {
    /// So many new ones.
    New(u8),
    /// One ends, written anew; which one of those there were.
    Ends(u8),
    /// Several end together.
    EndTogether(Vec<u8>),
}

fn meanwhile() -> impl Strategy<Value = Meanwhile> {
    prop_oneof![
        (1..6_u8).prop_map(Meanwhile::New),
        any::<u8>().prop_map(Meanwhile::Ends),
        prop::collection::vec(any::<u8>(), 1..8).prop_map(Meanwhile::EndTogether),
    ]
}

/// One of everything: an alert, its decision, its action.
fn records(mint: &mut Mint, n: u64) -> (Decision, Vec<Record>) {
    let alert = alert(mint, T0.after(Duration::from_secs(n)));
    let decision = decision(mint, &alert, alert.at);
    let action = action(mint, &decision);
    let found = crate::types::testing::investigation(&alert, Severity::High, 1);
    let all = vec![
        Record::Alert(Arc::new(alert)),
        Record::Investigation(Arc::new(found)),
        Record::Decision(Arc::new(decision.clone())),
        Record::Action(Arc::new(action)),
        Record::Audit {
            at: decision.at,
            actor: "test".to_owned(),
            verb: "test".to_owned(),
            subject: decision.id.to_string(),
            detail: String::new(),
        },
    ];
    (decision, all)
}

struct List {
    path: &'static str,
    /// What names a row.
    key: &'static str,
    seen: Vec<Value>,
    cursor: Option<String>,
    over: bool,
}

impl List {
    async fn turn(&mut self, router: &Router, limit: usize) {
        if self.over {
            return;
        }
        let mark = if self.path.contains('?') { '&' } else { '?' };
        let cursor = self
            .cursor
            .take()
            .map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
        let (status, page) = ask(router, get(&format!("{}{mark}limit={limit}{cursor}", self.path))).await;
        assert_eq!(status, 200, "{page}");
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= limit);
        self.seen.extend(items.iter().map(|item| item[self.key].clone()));
        self.cursor = page["next_cursor"].as_str().map(str::to_owned);
        self.over = self.cursor.is_none();
    }
}

async fn walk(first: u64, turns: Vec<(usize, Meanwhile)>) {
    let house = House::new();
    let router = house.router(Door::Tcp);
    let mut mint = Mint::Counted(0);
    let mut decisions = Vec::new();
    for n in 0..first {
        let (decision, records) = records(&mut mint, n);
        decisions.push(decision);
        house.keep(records).await;
    }
    let list = |path, key| List {
        path,
        key,
        seen: Vec::new(),
        cursor: None,
        over: false,
    };
    let mut lists = [
        list("/alerts", "id"),
        list("/investigations", "id"),
        list("/decisions", "id"),
        list("/decisions?active=true", "id"),
        list("/actions", "id"),
        list("/audit", "seq"),
    ];
    // What each has at the start, in its order.
    let mut expected = Vec::new();
    for list in &lists {
        let mark = if list.path.contains('?') { '&' } else { '?' };
        let (_, all) = ask(&router, get(&format!("{}{mark}limit=1000", list.path))).await;
        let ids: Vec<Value> = all["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item[list.key].clone())
            .collect();
        assert_eq!(ids.len() as u64, first, "{}", list.path);
        expected.push(ids);
    }
    let mut ended = std::collections::HashSet::new();
    let mut turns = turns.into_iter().cycle();
    let mut fresh = 1000;
    while lists.iter().any(|list| !list.over) {
        let (limit, event) = turns.next().unwrap();
        for list in &mut lists {
            list.turn(&router, limit).await;
        }
        match event {
            Meanwhile::New(n) => {
                for _ in 0..n {
                    fresh += 1;
                    house.keep(records(&mut mint, fresh).1).await;
                }
            }
            Meanwhile::Ends(which) => {
                let one = &decisions[usize::from(which) % decisions.len()];
                if ended.insert(one.id) {
                    let over = Decision {
                        status: DecisionStatus::Expired,
                        ended_at: Some(now()),
                        ..one.clone()
                    };
                    house.keep(vec![Record::Decision(Arc::new(over))]).await;
                }
            }
            Meanwhile::EndTogether(which) => {
                let mut each = Vec::new();
                for which in which {
                    let id = decisions[usize::from(which) % decisions.len()].id;
                    if ended.insert(id) {
                        each.push(EndedOne {
                            decision: id,
                            watch_until: None,
                            hits: 1,
                            would_hits: 0,
                        });
                    }
                }
                let together = Ended {
                    at: now(),
                    status: DecisionStatus::Deleted,
                    by: "operator by test".to_owned(),
                    each,
                };
                house.keep(vec![Record::Ended(Arc::new(together))]).await;
            }
        }
    }
    for (list, expected) in lists.iter().zip(expected) {
        let mut seen = list.seen.clone();
        if list.path.contains("active") {
            // Whoever ended may be missing, nobody else, and nobody is there twice.
            let over = |id: &Value| ended.iter().any(|one| *id == json!(one.to_string()));
            seen.retain(|id| !over(id));
            let still: Vec<_> = expected.into_iter().filter(|id| !over(id)).collect();
            assert_eq!(seen, still, "{}", list.path);
            let once: std::collections::HashSet<_> = list.seen.iter().map(Value::to_string).collect();
            assert_eq!(once.len(), list.seen.len(), "{}", list.path);
        } else {
            assert_eq!(seen, expected, "{}", list.path);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(12) })]

    #[test]
    fn nobody_is_missed_or_seen_twice(
        first in 1..40_u64,
        turns in prop::collection::vec((1..9_usize, meanwhile()), 1..8),
    ) {
        tokio::runtime::Runtime::new().unwrap().block_on(walk(first, turns));
    }
}

#[tokio::test]
async fn a_cursor_belongs_to_its_list_and_filters() {
    let house = House::new();
    let router = house.router(Door::Tcp);
    let mut mint = Mint::Counted(0);
    for n in 0..5 {
        house.keep(records(&mut mint, n).1).await;
    }
    let cursor = async |path: &str| {
        let (_, page) = ask(&router, get(path)).await;
        page["next_cursor"].as_str().unwrap().to_owned()
    };
    let of_alerts = cursor("/alerts?limit=2").await;
    let of_medium = cursor("/alerts?limit=2&severity=medium").await;
    let of_active = cursor("/decisions?limit=2&active=true").await;
    let of_actions = cursor("/actions?limit=2").await;
    // Where to begin and how much to show is no filter.
    for good in [
        format!("/alerts?limit=3&cursor={of_alerts}"),
        format!("/alerts?limit=2&since=24000h&severity=medium&cursor={of_medium}"),
        format!("/decisions?active=true&cursor={of_active}"),
    ] {
        assert_eq!(ask(&router, get(&good)).await.0, 200, "{good}");
    }
    for bad in [
        format!("/alerts?severity=high&cursor={of_alerts}"),
        format!("/alerts?cursor={of_medium}"),
        format!("/alerts?ip=203.0.113.7&cursor={of_alerts}"),
        format!("/decisions?cursor={of_active}"),
        format!("/decisions?active=false&cursor={of_active}"),
        format!("/investigations?cursor={of_alerts}"),
        format!("/actions?status=enforced&cursor={of_actions}"),
        format!("/audit?cursor={of_actions}"),
        "/alerts?cursor=".to_owned(),
        "/alerts?cursor=al".to_owned(),
        "/alerts?cursor=al5".to_owned(),
        format!("/alerts?cursor={}0", "al".repeat(20_000)),
        format!("/alerts?cursor={of_alerts}0000000000000000"),
        format!("/alerts?cursor=%F0%9F%92%A9{of_alerts}"),
        "/alerts?cursor=%00%FF".to_owned(),
        "/alerts?cursor=al-5".to_owned(),
        "/alerts?cursor=' OR 1=1 --".replace(' ', "%20"),
    ] {
        let (status, problem) = ask(&router, get(&bad)).await;
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert_eq!(status, 422, "{bad:.120}: {problem}");
        assert!(
            detail.contains("next_cursor") && detail.len() < 400,
            "{bad:.120}: {detail}"
        );
    }
}
