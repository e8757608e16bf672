//! The wiring diagram: builds every room, opens every channel, spawns every task, owns shutdown.

mod banning;
mod earlier;
mod ears;
mod fleet;
mod gate;
mod guard;
mod hangup;
mod judging;
mod reach;
mod reload;
mod rooms;

use crate::api::{AppState, Doors, login_url};
use crate::auth::{Auth, Secrets};
use crate::bus::Bus;
use crate::config::{Config, Mode, Origins};
use crate::containers::{Engine, OwnIds, Protection, Roster};
use crate::control::{
    Analysis, BesideDeps, ConfirmDeps, Confirmations, Counting, Desk, DeskDeps, Enquiries, Gauges, Guard,
    Investigations, Isolations, LearnRoom, Losses, ReportDeps, Reporting, Reread, Retention, Witness, World,
    follow_store, keep_sightings,
};
use crate::decide::{Judge, OFFENDERS};
use crate::detect::Detectors;
use crate::export;
use crate::flow::FlowTable;
use crate::host::HostRoom;
use crate::intel::feeds::{FeedDeps, FeedRoom};
use crate::intel::geo::Geo;
use crate::intel::{Intel, IntelSource, clients};
use crate::metrics::Metrics;
use crate::notify::{self, Notifications};
use crate::respond::{Deps, Responder};
use crate::sandbox::Sandbox;
use crate::sensor::{XdpSensor, bettercap};
use crate::service::{self, Pulse, Service};
use crate::store::Store;
use crate::time;
use crate::traffic;
use crate::types::{Health, Mint, Stats};
pub(crate) use earlier::{loose, remembered};
use earlier::{name_readers, tell_left_behind};
use ears::Beside;
use gate::{Closing, Gate, interfaces, welcome};
use guard::GuardThread;
use hangup::Hangup;
pub(crate) use judging::judging_model;
pub(crate) use reach::sandbox;
use rooms::Rooms;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Ring batches on their way to the decoder; past this the newest is dropped and counted. In a flood that is more than can be
/// looked at they are all there, and what the kernel noticed waits behind them: 43,000 records at most, some 0.4 s.
const RING_BATCHES: usize = 128;
/// Record batches on their way to the flow table.
const RECORD_BATCHES: usize = 64;
/// What the kernel noticed, on its way to the detectors; past this the newest is dropped and counted.
const NOTICES: usize = 4096;
/// Alerts on their way to where their sources are looked into, and with what is known on to the desk.
const ALERTS: usize = 1024;
/// Commands on their way to the desk.
const COMMANDS: usize = 64;
/// Sightings on their way to the database; past this the newest is dropped and counted.
const SIGHTINGS: usize = 256;
/// Wishes on their way to learn mode, and its questions on theirs to the analysis.
const WISHES: usize = 16;
/// What is told of who was heard reaches back so much further than the window of a provisional decision.
const HEARD: Duration = Duration::from_secs(5);

/// Runs the agent until SIGTERM, SIGINT or a fatal error; leaves nothing in the kernel. Where its settings came from is only
/// for people; `read` reads them anew when somebody asks for that.
///
/// # Errors
/// Whatever kept a room from being built, or made one end on its own.
pub async fn run(config: Config, origins: Origins, read: Reread, sandbox: Sandbox) -> anyhow::Result<()> {
    let (config, origins) = (Arc::new(config), Arc::new(origins));
    let (hangup, reopen) = Hangup::caught()?;
    let started = time::wall_now();
    let clock = time::clock();
    let cancel = CancellationToken::new();
    let metrics = Arc::new(Metrics::new());
    let bus = Bus::default();

    let (store, writer) = Store::open(&config.store.path)?;
    let remembered = remembered(&store).await?;
    let loose = loose(&store, &remembered).await?;
    let watched = store.watched_decisions().await?;
    let stop = store.stop().await?;
    let before = store.settings().await?;
    let allowed = store.allowlist().await?;
    let tallies = store.tallies(remembered.iter().map(|(d, _)| d.id).collect()).await?;
    let (ways, lines) = reload::lines(&config);
    let (host, facts) = {
        let sandbox = sandbox.clone();
        HostRoom::open(reload::servers(&config), move || sandbox.confine_reader()).await?
    };
    let host = host.following(lines.servers);
    let links = facts.clone();
    let interfaces = interfaces(&config, facts.borrow().default_interface.as_deref())?;

    let doors = Doors::take(&config.api).await?;
    // A stop holds over restarts, from the first packet on.
    let enforces = if stop.is_some() { Mode::Simulation } else { config.mode };
    let (enforcer, mut gate) = Gate::open(&config, enforces)?;

    let (health_tx, health) = watch::channel(Arc::new(Health::default()));
    let (stats_tx, stats) = watch::channel(Arc::new(Stats::default()));
    let (hits_tx, hits) = watch::channel(Arc::default());
    let (peers_tx, peers) = watch::channel(Arc::default());
    let (protected_tx, protected) = watch::channel(Arc::default());
    let (acting_tx, acting) = watch::channel(Arc::default());
    let (shadows_tx, shadows) = watch::channel(Arc::default());
    let (bystanders_tx, bystanders) = mpsc::channel(WISHES);
    let (commands_tx, commands) = mpsc::channel(COMMANDS);
    let (learning_tx, wishes) = mpsc::channel(WISHES);
    let (asks_tx, asks) = mpsc::channel(WISHES);
    let (enquiries_tx, enquiries) = mpsc::channel(WISHES);
    let (busiest_tx, busiest) = mpsc::channel(WISHES);
    let (card_tx, card) = watch::channel(None);
    let (tests_tx, tests) = mpsc::channel(WISHES);
    let (channels_tx, channels) = watch::channel(Arc::default());
    let (fleet_tx, fleet_status) = watch::channel(Arc::default());
    let (settings_tx, settings) = watch::channel(None);
    let (reloads, reload_wishes) = mpsc::channel(WISHES);
    metrics.watch_stats(stats.clone());
    metrics.watch_health(health.clone());

    let responder = Responder::new(
        enforcer,
        Deps {
            store: store.clone(),
            bus: bus.clone(),
            metrics: Arc::clone(&metrics),
            commit_deadline: config.store.commit_deadline,
        },
        clock,
    );
    let mut judge = Judge::new(&config.response, config.mode, Mint::Random);
    let memory = config.response.policy.repeat.memory;
    judge.recall(store.offenders(started.before(memory), OFFENDERS).await?);
    let engine = &config.containers.engine;
    let engine = engine
        .as_ref()
        .map(|socket| Arc::new(Engine::new(socket, config.containers.timeout)));
    let own = if engine.is_some() {
        OwnIds::find().map_err(|error| {
            anyhow::anyhow!(
                "{error}; whether the agent runs in a container that it must not isolate is not known: make that file \
                 readable, or empty `containers.engine`"
            )
        })?
    } else {
        OwnIds::default()
    };
    let protection = Protection::new(&config.containers.protect, own);
    let roster = engine.map(|engine| (Arc::clone(&engine), Roster::new(engine, protection.clone())));
    let (to_isolate_tx, to_isolate) = watch::channel(Arc::default());
    let (to_ban, to_ban_wishes) = banning::wishes(&config.bettercap);
    let (provisional_tx, provisional) = watch::channel(Arc::default());
    let (heard_tx, heard) = watch::channel(Arc::default());
    let (verdicts_tx, verdicts) = mpsc::channel(WISHES);
    let mut desk = Desk::new(
        judge,
        responder,
        DeskDeps {
            allowlist: config.allowlist.clone(),
            facts,
            metrics: Arc::clone(&metrics),
            clock,
            peers,
            severity_thresholds: config.severity_thresholds,
            hits: hits_tx,
            protected: protected_tx,
            health: health_tx.clone(),
            containers: roster.as_ref().map(|(_, (_, known))| known.clone()),
            to_isolate: to_isolate_tx,
            to_ban,
            acting: acting_tx,
            shadows: shadows_tx,
            bystanders,
            provisional: provisional_tx,
            verdicts,
            renewals: lines.desk,
        },
    );
    let write_metrics = Arc::clone(&metrics);
    let observe_write = move |took: Duration| write_metrics.store_write_seconds.observe(took.as_secs_f64());
    let writer = std::thread::Builder::new().name("store".into()).spawn({
        let sandbox = sandbox.clone();
        move || {
            sandbox.confine();
            writer.observe(observe_write).run();
        }
    })?;
    // Protected addresses and earlier decisions are in the maps before the first packet is judged.
    desk.expect(&remembered);
    desk.note_settings(&config, before).await;
    desk.stopped_before(stop);
    desk.allowed_before(allowed);
    desk.tallied_before(tallies);
    desk.protect().await;
    desk.restore(remembered, loose, watched).await;
    if let Gate::Programs(kernel) = &mut gate {
        kernel.attach_present(&interfaces)?;
    }
    desk.attached().await;

    let (beside_bus, notify_bus) = (bus.clone(), bus.clone());
    let bans_protected = protected.clone();
    let dashboard = config.api.url(doors.local_addr()?);
    name_readers(&store, &config).await;
    let traffic_deps = traffic::Deps {
        metrics: Arc::clone(&metrics),
        health: health_tx.clone(),
        reopen: reopen.clone(),
    };
    let (traffic, traffic_room) = traffic::open(&config.traffic_log, traffic_deps).unzip();
    let export = export::open(
        &config.export,
        export::Deps {
            store: store.clone(),
            bus: bus.clone(),
            metrics: Arc::clone(&metrics),
            health: health_tx.clone(),
            reopen,
            hits: hits.clone(),
            stats: stats.clone(),
            started,
        },
        &cancel,
    );
    let secrets = Secrets::new()?;
    let auth = Arc::new(Auth::open(store.clone(), secrets, config.api.session).await?);
    // A journal that others read is no place for it: `sentinel login` makes one.
    if auth.is_new() && !service::logged() {
        let url = login_url(&config.api, doors.local_addr()?, &auth.link(time::wall_now())?);
        println!("To log in to the dashboard, open this link within 15 minutes; it works once:\n{url}");
    }
    let others = fleet::Others {
        store: &store,
        commands: &commands_tx,
        metrics: &metrics,
        health: &health_tx,
        hits: &hits,
        acting: &acting,
    };
    let fleet = others.room(&config, fleet_tx, clock).await?;
    let state = AppState {
        store: store.clone(),
        auth,
        commands: commands_tx,
        learning: learning_tx,
        enquiries: enquiries_tx,
        busiest: busiest_tx,
        tests: tests_tx,
        channels,
        bus,
        stats,
        health,
        fleet: fleet_status,
        hits,
        protected: protected.clone(),
        acting,
        model: card,
        config: Arc::clone(&config),
        origins: Arc::clone(&origins),
        settings,
        reloads,
        metrics: Arc::clone(&metrics),
        started,
        clock,
    };

    let (records_tx, records_rx) = mpsc::channel(RECORD_BATCHES);
    let (notices_tx, notices_rx) = mpsc::channel(NOTICES);
    let (alerts_tx, alerts_rx) = mpsc::channel(ALERTS);
    let (cases_tx, cases_rx) = mpsc::channel(ALERTS);
    let gauges = Arc::new(Gauges::default());
    let window = config.response.policy.confirm.window;
    let (seen_tx, seen) = mpsc::channel(SIGHTINGS);
    let mut ears = bettercap(&config, links.clone(), Arc::clone(&metrics), health_tx.clone(), seen_tx);
    let blind = matches!(gate, Gate::Sets(..));
    let hears = ears.is_some();
    let only_ears = blind && hears;
    let (table, mut detectors, judging) = if only_ears {
        let (table, detectors) = ears::judges(&config, clock);
        (table, detectors, None)
    } else {
        let table = FlowTable::new(&config.flow).with_egress(config.kernel.egress);
        let detectors = Detectors::new(&config, clock, Mint::Random, "xdp").with_limits(gate.limits()?);
        (table, detectors, judging_model(&config)?)
    };
    if let Some(judging) = &judging {
        detectors = detectors
            .with_model(&config, Arc::clone(&judging.model))
            .with_lost(judging.lost.clone());
    }
    let mut learning = judging.map(|judging| {
        let site = config.detect.model.site.clone();
        LearnRoom::new(asks_tx, site, judging.trained, Arc::clone(&metrics))
    });
    if let Some(learning) = &mut learning {
        learning.resume(&mut detectors);
    }
    let feed_deps = FeedDeps {
        protected: protected.clone(),
        kernel: gate.lists(),
        store: Some(store.clone()),
        simulate: config.mode == Mode::Simulation,
        health: health_tx.clone(),
        metrics: Arc::clone(&metrics),
    };
    let (feed_room, feeds) = FeedRoom::new(&config.intel, feed_deps)?;
    detectors = detectors.with_lists(&config, Box::new(feeds.clone()));
    let feed_room = feed_room.with_renewals(lines.feeds);
    let listed = feeds.clone();
    let ring_losses = gate.ring_lost();
    let counted = store.clone();
    let losses = move || -> Losses {
        BTreeMap::from([
            (("ring", "channel_full"), ring_losses.load(Ordering::Relaxed)),
            (("store", "overflow"), counted.tally().overflow),
        ])
    };

    let sources = clients(&config.intel.sources).into_iter();
    let (intel, upkeep) = Intel::new(
        &config.intel,
        &config.risk_thresholds,
        sources
            .map(|(client, _)| Box::new(client) as Box<dyn IntelSource>)
            .collect(),
        Some(store.clone()),
        Arc::clone(&metrics),
    );
    let geo = Geo::new(&config.intel.geoip);
    let world = World {
        intel,
        feeds,
        own_feeds: lines.own_feeds,
        geo: geo.clone(),
    };

    let mut rooms = Rooms::new(cancel.clone(), hangup);
    for (name, room) in export.rooms {
        rooms.spawn(name, room);
    }
    if let Some(room) = traffic_room {
        rooms.spawn("traffic log", room.run());
    }
    let counters = gate.counters();
    let gate = match gate {
        Gate::Programs(mut kernel) => {
            let (ring_tx, ring_rx) = mpsc::channel(RING_BATCHES);
            rooms.spawn("ring", kernel.ring().run(ring_tx, cancel.clone()));
            let sweep = kernel.sweep().with_idle(config.flow.idle_timeout);
            let sensor = XdpSensor::new(sweep, Arc::clone(&metrics));
            rooms.spawn("sensor", sensor.run(ring_rx, records_tx, notices_tx));
            let guard = Guard {
                kernel,
                configured: config.kernel.interfaces.clone(),
                facts: links,
                gauges: Arc::clone(&gauges),
            };
            let (watched, cancel) = (interfaces.clone(), cancel.clone());
            Closing::Programs(GuardThread::begin(&mut rooms, &sandbox, guard, watched, cancel)?)
        }
        Gate::Sets(_, lease) => {
            if let Some(ears) = ears.take() {
                ears::listen(&mut rooms, ears, records_tx.clone(), cancel.clone());
            }
            let cancel = cancel.clone();
            rooms.spawn("no sensor", async move {
                cancel.cancelled().await;
                drop((records_tx, notices_tx));
            });
            Closing::Sets(lease)
        }
    };
    if hears {
        rooms.spawn("sightings", keep_sightings(store.clone(), Arc::clone(&metrics), seen));
    }
    if let Some(ears) = ears {
        let deps = Beside {
            clock,
            feeds: listed,
            metrics: Arc::clone(&metrics),
            health: health_tx.clone(),
            alerts: alerts_tx.clone(),
            ended: export.flows.clone(),
            traffic: traffic.clone(),
            renewals: lines.beside,
        };
        ears::beside(&mut rooms, ears, &config, deps, cancel.clone());
    }
    let analysis = Analysis::new(
        table,
        detectors,
        Arc::clone(&metrics),
        Arc::clone(&gauges),
        health_tx.clone(),
        peers_tx,
    )
    .with_card(card_tx)
    .with_busiest(busiest)
    .with_ended(export.flows)
    .with_traffic(traffic, &config)
    .with_renewals(lines.analysis)
    .with_witness(Witness::new(shadows, bystanders_tx))
    .with_heard(heard_tx, window + HEARD);
    let analysis = if only_ears { analysis.paced() } else { analysis };
    let pulses = vec![Pulse::new("desk", desk.beat()), Pulse::new("analysis", analysis.beat())];
    rooms.spawn("analysis", analysis.run(records_rx, notices_rx, asks, alerts_tx));
    let confirm_deps = ConfirmDeps {
        provisional,
        heard,
        verdicts: verdicts_tx,
        clock,
        metrics: Arc::clone(&metrics),
        health: health_tx.clone(),
    };
    let confirmations = Confirmations::new(&config.probes, window, confirm_deps);
    rooms.spawn("confirmations", confirmations.run(cancel.clone()));
    if let Some(learning) = learning {
        rooms.spawn("learning", learning.run(wishes, cancel.clone()));
    }
    let investigations = Investigations::new(
        world.clone(),
        &config.intel,
        lines.risk.clone(),
        Arc::clone(&metrics),
        time::wall_now,
    );
    let reload = reload::Reload {
        read,
        config: Arc::clone(&config),
        origins,
        told: settings_tx,
        wishes: reload_wishes,
        health: health_tx.clone(),
        sandbox: sandbox.clone(),
        intel: world.intel.clone(),
        ears: match (hears, only_ears) {
            (_, true) => reload::Ears::Only,
            (true, false) => reload::Ears::Beside,
            (false, false) => reload::Ears::None,
        },
    };
    reload::begin(&mut rooms, ways, reload, cancel.clone());
    let outside = Enquiries {
        world,
        thresholds: lines.risk,
        protected,
    };
    rooms.spawn("enquiries", outside.run(enquiries, cancel.clone()));
    rooms.spawn("feeds", feed_room.run(cancel.clone()));
    rooms.spawn("geoip", geo.run(health_tx.clone(), cancel.clone()));
    rooms.spawn("intel", upkeep.run());
    rooms.spawn("investigations", investigations.run(alerts_rx, cases_tx));
    if roster.is_none() {
        tell_left_behind(&store, &health_tx).await?;
    }
    let beside_deps = BesideDeps {
        store: store.clone(),
        bus: beside_bus,
        metrics: Arc::clone(&metrics),
        health: health_tx.clone(),
        clock,
    };
    if let Some((engine, (roster, known))) = roster {
        let quarantine = config.containers.quarantine_network.clone();
        let isolations = Isolations::new(engine, protection, quarantine, to_isolate, known, beside_deps.clone());
        rooms.spawn("containers", roster.run(cancel.clone()));
        rooms.spawn("isolations", isolations.run(cancel.clone()));
    }
    if let Some(bans) = banning::room(&config.bettercap, to_ban_wishes, bans_protected, beside_deps).await? {
        rooms.spawn("bans", bans.run(cancel.clone()));
    }
    let notify_deps = notify::Deps {
        store: store.clone(),
        bus: notify_bus,
        metrics: Arc::clone(&metrics),
        health: health_tx.clone(),
        status: channels_tx,
        sender: notify::Sender::here(dashboard),
        now: time::wall_now,
    };
    let notifications = Notifications::new(config.alerting.clone(), notify_deps);
    rooms.spawn(
        "notifications",
        notifications.run(tests, lines.alerting, cancel.clone()),
    );
    rooms.spawn("desk", desk.run(cases_rx, commands));
    rooms.spawn("host", host.run(health_tx.clone(), cancel.clone()));
    rooms.spawn(
        "counting",
        Counting {
            counters,
            blind,
            hears,
            gauges,
            losses: Box::new(losses),
            stats: stats_tx,
            health: health_tx.clone(),
        }
        .run(cancel.clone()),
    );
    let retention = Retention {
        config: config.store.retention,
        store: store.clone(),
        metrics: Arc::clone(&metrics),
        health: health_tx.clone(),
    };
    rooms.spawn("retention", retention.run(cancel.clone()));
    let report_deps = ReportDeps {
        store: store.clone(),
        mode: config.mode,
        acting: state.acting.clone(),
        metrics: Arc::clone(&metrics),
        health: health_tx.clone(),
        mail: lines.mail,
    };
    rooms.spawn(
        "reports",
        Reporting::new(config.reports.clone(), report_deps).run(cancel.clone()),
    );
    rooms.spawn(
        "store condition",
        follow_store(store.condition(), health_tx.clone(), cancel.clone()),
    );
    if let Some(fleet) = fleet {
        rooms.spawn("fleet", fleet.run(cancel.clone()));
    }
    let service = Service::new(service::Deps {
        mode: config.mode,
        blind,
        acting: state.acting.clone(),
        stats: state.stats.clone(),
        health: state.health.clone(),
        hits: state.hits.clone(),
        store: store.clone(),
        pulses,
    });
    rooms.spawn_fallible("api", doors.open(state, cancel.clone()));
    rooms.spawn("service", service.run(cancel));
    reach::seal(&sandbox, &health_tx);

    welcome(&config, &interfaces, blind && !only_ears);

    let outcome = rooms.until_over().await;
    let left = gate.close(&config);
    store.close();
    if writer.join().is_err() {
        anyhow::bail!("the store's writer panicked; the database is intact up to its last commit");
    }
    outcome.and(left)
}
