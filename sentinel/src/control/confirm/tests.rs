//! The room with a real server that goes away.

use super::*;
use crate::config::ProbeKind;
use crate::types::{DecisionId, Timestamp};
use tokio::net::TcpListener;

const WINDOW: Duration = Duration::from_secs(12);

fn provisional(name: u128) -> Provisional {
    Provisional {
        decision: DecisionId(uuid::Uuid::from_u128(name)),
        target: "198.51.100.0/24".parse().unwrap(),
        ends: time::clock().wall(time::boot_now().after(WINDOW)),
    }
}

async fn verdict(verdicts: &mut mpsc::Receiver<Verdict>, of: &Provisional) -> Result<String, String> {
    let told = tokio::time::timeout(WINDOW * 2, verdicts.recv()).await;
    let told = told.expect("in time").expect("a verdict");
    assert_eq!((told.decision, told.ends), (of.decision, of.ends));
    let now: Timestamp = time::clock().wall(time::boot_now());
    assert!(now < of.ends, "within the window");
    told.outcome
}

#[tokio::test]
async fn it_confirms_while_somebody_answers_rolls_back_when_not_and_ends() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = server.local_addr().unwrap().port();
    let probe = Probe {
        text: format!("tcp://127.0.0.1:{port}"),
        how: ProbeKind::Tcp {
            host: "127.0.0.1".into(),
            port,
        },
    };
    let (open, provisional_rx) = watch::channel(Arc::default());
    let (verdicts_tx, mut verdicts) = mpsc::channel(4);
    let (health, mut board) = watch::channel(Arc::<Health>::default());
    let deps = ConfirmDeps {
        provisional: provisional_rx,
        heard: watch::channel(Arc::default()).1,
        verdicts: verdicts_tx,
        clock: time::clock(),
        metrics: Arc::new(Metrics::new()),
        health,
    };
    let cancel = CancellationToken::new();
    let room = tokio::spawn(Confirmations::new(&[probe], WINDOW, deps).run(cancel.clone()));
    board
        .wait_for(|board| board.components.contains_key(&Component::Probes))
        .await
        .unwrap();
    assert!(!board.borrow().degraded());

    let first = provisional(1);
    open.send_replace(Arc::new(vec![first]));
    assert_eq!(verdict(&mut verdicts, &first).await, Ok("1 probes answer".to_owned()));

    let second = provisional(2);
    drop(server);
    open.send_replace(Arc::new(vec![second]));
    let why = verdict(&mut verdicts, &second).await.unwrap_err();
    assert!(why.contains("answered before it and does not any more"), "{why}");
    board.wait_for(|board| board.degraded()).await.unwrap();

    cancel.cancel();
    room.await.unwrap();
}
