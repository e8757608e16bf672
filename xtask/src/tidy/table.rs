//! The rules as rows.

/// What a room of the agent may import from the others.
pub(super) struct Room {
    pub(super) name: &'static str,
    pub(super) knows: &'static [&'static str],
}

const fn room(name: &'static str, knows: &'static [&'static str]) -> Room {
    Room { name, knows }
}

/// Files that see everything: the crate, its binary, and the wiring diagram.
pub(super) const TOP: &[&str] = &["lib", "main", "app"];

/// Every room, in the order data walks.
pub(super) const ROOMS: &[Room] = &[
    room("types", &[]),
    room("time", &["types"]),
    room("files", &[]),
    room("tls", &[]),
    room("sandbox", &[]),
    room("netlink", &[]),
    room("config", &["types"]),
    // `respond` and `intel` own the traits that the kernel's maps implement.
    room("kernel", &["config", "intel", "netlink", "respond", "types"]),
    room("nft", &["config", "netlink", "respond", "time", "types"]),
    room("host", &["netlink", "types"]),
    room(
        "sensor",
        &[
            "config", "detect", "files", "flow", "host", "kernel", "metrics", "time", "tls", "types",
        ],
    ),
    room("flow", &["config", "types"]),
    room("features", &["config", "flow", "types"]),
    room("model", &["features"]),
    room("train", &["features", "files", "model", "types"]),
    room("detect", &["config", "features", "flow", "model", "types"]),
    room("investigate", &["config", "flow", "types"]),
    room("journal", &["detect", "features", "files", "model", "types"]),
    room("decide", &["config", "types"]),
    room(
        "proof",
        &[
            "config",
            "decide",
            "detect",
            "features",
            "investigate",
            "model",
            "types",
        ],
    ),
    room("probe", &["config", "tls", "types"]),
    room("containers", &["files", "time", "types"]),
    room("bettercap", &["config", "tls", "types"]),
    room("respond", &["bus", "metrics", "store", "types"]),
    room(
        "control",
        &[
            "bettercap",
            "bus",
            "config",
            "containers",
            "decide",
            "detect",
            "features",
            "files",
            "flow",
            "host",
            "intel",
            "investigate",
            "journal",
            "kernel",
            "metrics",
            "model",
            "probe",
            "proof",
            "report",
            "respond",
            "store",
            "time",
            "traffic",
            "train",
            "types",
        ],
    ),
    room(
        "replay",
        &[
            "config",
            "decide",
            "detect",
            "export",
            "features",
            "files",
            "flow",
            "investigate",
            "model",
            "respond",
            "sensor",
            "types",
        ],
    ),
    room(
        "intel",
        &["config", "files", "metrics", "store", "time", "tls", "types"],
    ),
    room(
        "dataset",
        &["config", "features", "files", "model", "replay", "sensor", "types"],
    ),
    room(
        "traffic",
        &[
            "config", "dataset", "detect", "features", "files", "metrics", "model", "types",
        ],
    ),
    room("fleet", &["config", "files", "metrics", "store", "tls", "types"]),
    room("store", &["types"]),
    room("report", &["store", "types"]),
    room("bus", &["types"]),
    room("service", &["config", "store", "types"]),
    room(
        "export",
        &["bus", "config", "files", "metrics", "store", "time", "tls", "types"],
    ),
    room(
        "notify",
        &["bus", "config", "files", "metrics", "store", "time", "tls", "types"],
    ),
    room("metrics", &["types"]),
    room("auth", &["store", "types"]),
    room("migrate", &["config", "files", "time", "types"]),
    room(
        "api",
        &[
            "auth", "bus", "config", "metrics", "proof", "report", "store", "time", "tls", "traffic", "types",
        ],
    ),
    room(
        "cli",
        &[
            "app",
            "config",
            "containers",
            "dataset",
            "files",
            "fleet",
            "intel",
            "kernel",
            "migrate",
            "model",
            "nft",
            "notify",
            "proof",
            "replay",
            "report",
            "store",
            "time",
            "tls",
            "train",
            "types",
        ],
    ),
];

/// Words that belong to certain places only.
pub(super) struct Words {
    pub(super) any_of: &'static [&'static str],
    pub(super) within: &'static [&'static str],
    pub(super) except: &'static [&'static str],
    pub(super) why: &'static str,
}

pub(super) const WORDS: &[Words] = &[
    Words {
        any_of: &["aya::", "aya_obj::", "aya_log::"],
        within: &["sentinel/src/"],
        except: &["sentinel/src/kernel/"],
        why: "only `kernel` knows aya",
    },
    Words {
        any_of: &["linfa::", "linfa_trees::", "linfa_svm::", "ndarray::"],
        within: &["sentinel/src/", "tests/", "xtask/"],
        except: &["sentinel/src/train/", "xtask/src/tidy/"],
        why: "only `train` knows linfa",
    },
    Words {
        any_of: &["rusqlite::"],
        within: &["sentinel/src/", "tests/", "xtask/"],
        except: &["sentinel/src/store/", "sentinel/src/migrate/", "xtask/src/tidy/"],
        why: "only `store` knows SQL, and `migrate` that of other programs",
    },
    Words {
        any_of: &["bollard::"],
        within: &["sentinel/src/", "tests/", "xtask/"],
        except: &["sentinel/src/containers/", "xtask/src/tidy/"],
        why: "only `containers` knows container engines",
    },
    Words {
        any_of: &["sd_notify::"],
        within: &["sentinel/src/", "tests/", "xtask/"],
        except: &["sentinel/src/service/", "xtask/src/tidy/"],
        why: "only `service` knows the service manager",
    },
    Words {
        any_of: &["krilla::", "skrifa::"],
        within: &["sentinel/src/", "tests/", "xtask/"],
        except: &["sentinel/src/report/", "xtask/src/tidy/"],
        why: "only `report` knows PDF and fonts",
    },
    Words {
        any_of: &["axum::", "tower_http::"],
        within: &["sentinel/src/", "tests/", "xtask/"],
        except: &["sentinel/src/api/", "xtask/src/tidy/"],
        why: "only `api` knows HTTP servers",
    },
    Words {
        any_of: &["moka::", "maxminddb::"],
        within: &["sentinel/src/", "tests/", "xtask/"],
        except: &["sentinel/src/intel/", "xtask/src/tidy/"],
        why: "only `intel` knows caches and databases of threat intelligence",
    },
    Words {
        any_of: &["redis::"],
        within: &["sentinel/src/", "xtask/"],
        except: &["sentinel/src/intel/", "sentinel/src/fleet/", "xtask/src/tidy/"],
        why: "only `intel` and `fleet` know the Redis",
    },
    Words {
        any_of: &["tokio::spawn(", "thread::spawn(", "JoinSet"],
        within: &["sentinel/src/"],
        except: &["sentinel/src/app.rs", "sentinel/src/app/rooms.rs"],
        why: "only `app` spawns",
    },
    Words {
        any_of: &[
            "Instant::now(",
            "SystemTime",
            "std::fs",
            "std::process",
            "TcpStream",
            "UdpSocket",
            "File::open(",
        ],
        within: &[
            "sentinel/src/types/",
            "sentinel/src/flow/",
            "sentinel/src/features/",
            "sentinel/src/detect/",
            "sentinel/src/decide/",
            "sentinel/src/investigate/",
            "sentinel/src/model/",
        ],
        except: &[],
        why: "types, flow, features, detect, investigate, decide and model read no clock and do no I/O",
    },
    Words {
        any_of: &["unsafe"],
        within: &["sentinel/src/", "tests/", "xtask/"],
        except: &["sentinel/src/kernel/", "xtask/src/tidy/"],
        why: "unsafe code belongs to `kernel` and the kernel programs",
    },
];
