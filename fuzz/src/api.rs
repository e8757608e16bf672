//! Requests: queries, bodies, cursors, identifiers, through every layer of the API to a store.

use crate::Target;
use sentinel::api::fuzzing::Served;
use std::cell::RefCell;
use std::thread::JoinHandle;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// The target.
pub const TARGET: Target = Target {
    name: "api",
    run,
    seeds,
};

/// Requests after which the store begins anew: what they leave in the audit would fill the disk.
const REQUESTS: u32 = 50_000;

struct House {
    runtime: Runtime,
    served: Served,
    writer: Option<JoinHandle<()>>,
    asked: u32,
    _folder: TempDir,
}

impl House {
    fn new() -> Self {
        // In memory, where there is such a folder: what is audited is written through.
        let shared = std::path::Path::new("/dev/shm");
        let folder = if shared.is_dir() {
            tempfile::tempdir_in(shared)
        } else {
            tempfile::tempdir()
        };
        let folder = folder.expect("a folder");
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (served, writer) = Served::new(folder.path()).expect("a store");
        Self {
            runtime,
            served,
            writer: Some(std::thread::spawn(move || writer.run())),
            asked: 0,
            _folder: folder,
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.served.close();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

thread_local! {
    static HOUSE: RefCell<Option<House>> = const { RefCell::new(None) };
}

fn run(request: &[u8]) {
    HOUSE.with_borrow_mut(|house| {
        if house.as_ref().is_some_and(|house| house.asked >= REQUESTS) {
            *house = None;
        }
        let house = house.get_or_insert_with(House::new);
        house.asked += 1;
        house.runtime.block_on(house.served.ask(request));
    });
}

/// A request to each path that reads something.
fn seeds() -> Vec<Vec<u8>> {
    let json = "application/json";
    let id = "019b76da-a800-7000-8000-000000000001";
    let page = "limit=3&cursor=a.1&since=4h&ip=203.0.113.0%2F24";
    [
        (format!("GET /alerts?{page}&severity=high,low&detector=port_scan"), "", ""),
        (format!("GET /investigations?{page}&risk=high&alert={id}"), "", ""),
        (format!("GET /decisions?{page}&active=true&watched=true&simulated=true&alert={id}"), "", ""),
        (format!("GET /actions?{page}&decision={id}&status=enforced"), "", ""),
        ("GET /audit?limit=3&since=2026-01-01T00:00:00Z".into(), "", ""),
        ("GET /sightings?limit=3".into(), "", ""),
        ("GET /traffic?limit=3".into(), "", ""),
        ("GET /flows/top?per=source&ip=203.0.113.7".into(), "", ""),
        ("GET /stats/history?since=1h".into(), "", ""),
        ("GET /simulation?since=1d".into(), "", ""),
        ("GET /allowlist/check?ip=203.0.113.7".into(), "", ""),
        ("GET /settings?section=alerting".into(), "", ""),
        (format!("GET /alerts/{id}"), "", ""),
        (format!("GET /decisions/{id}/proof"), "", ""),
        ("GET /reports/sentinel-2026-01-01.pdf".into(), "", ""),
        (
            "GET /v1/decisions?ip=203.0.113.7&scopes=ip,range&type=ban&origins=sentinel&contains=false".into(),
            "",
            "",
        ),
        ("GET /v1/decisions/stream?startup=true&scopes=ip&offset=0&limit=2".into(), "", ""),
        ("GET /stream?types=alert&after=1.2&batch=true&severity=high&ip=2001:db8::/32".into(), "", ""),
        (
            "POST /decisions".into(),
            json,
            "{\"target\":\"203.0.113.7\",\"type\":\"rate_limit\",\"packets\":10,\"bytes\":\"64KiB\",\"burst\":\"2s\",\"each\":true,\
             \"duration\":\"4h\",\"reason\":\"why\",\"egress\":true,\"collateral\":3}",
        ),
        ("DELETE /decisions?target=203.0.113.0%2F24&forget=true".into(), "", ""),
        (format!("DELETE /decisions/{id}?forget=true"), "", ""),
        (format!("POST /actions/{id}/revert"), json, "{}"),
        (
            "POST /decisions/import?format=csv&type=block&duration=1h&reason=list".into(),
            "text/csv",
            "value,type,duration,reason\n203.0.113.7,ban,4h,\"a \"\"quoted\"\" one\"\n",
        ),
        (
            "POST /decisions/import?format=json".into(),
            json,
            "[{\"value\":\"203.0.113.7\",\"type\":\"ban\",\"duration\":\"4h\",\"scope\":\"Ip\",\"decisions\":[]}]",
        ),
        ("POST /decisions/import?format=values".into(), "text/plain", "203.0.113.7 # why\n2001:db8::/32\n"),
        ("POST /reports".into(), json, "{\"since\":\"1d\",\"format\":\"json\"}"),
        ("POST /allowlist".into(), json, "{\"target\":\"203.0.113.7\",\"comment\":\"office\",\"duration\":\"1d\"}"),
        ("POST /acting".into(), json, "{\"stop\":true,\"reason\":\"why\"}"),
        ("POST /intel/check".into(), json, "{\"ip\":\"203.0.113.7\"}"),
        ("POST /notifications/test".into(), json, "{\"channel\":\"slack\"}"),
        ("POST /learn/start".into(), json, "{}"),
        ("POST /tokens".into(), json, "{\"name\":\"ci\",\"role\":\"viewer\",\"expires_in\":\"1d\"}"),
        ("DELETE /tokens/ci".into(), "", ""),
        (
            "POST /v1/usage-metrics".into(),
            json,
            "{\"remediation_components\":[{\"type\":\"firewall\",\"version\":\"1\",\"metrics\":[]}]}",
        ),
    ]
    .map(|(first, kind, body)| format!("{first}\n{kind}\n{body}").into_bytes())
    .into()
}
