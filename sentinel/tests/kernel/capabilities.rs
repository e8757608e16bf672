//! K3: what loading and attaching need of capabilities is what the documents and `sentinel doctor` say, by trying each set.

use super::pair::Pair;
use super::*;
use std::collections::BTreeSet;
use std::process::Command;

/// Those that matter, as capabilities(7) has them without `CAP_`.
const ALL: [&str; 4] = ["BPF", "NET_ADMIN", "PERFMON", "SYS_ADMIN"];
/// Tells the test's other half that it is the one that tries.
const CHILD: &str = "CAPABILITIES_TEST_CHILD";
const NAME: &str = "capabilities::what_is_needed_is_what_is_documented";
const DOCKER: &str = include_str!("../../../docs/docker.md");
const SYSTEMD: &str = include_str!("../../../docs/systemd.md");

type Set = BTreeSet<&'static str>;

/// Loads and attaches, as far as that goes.
fn attempt() -> String {
    let missing = probe::missing_capabilities();
    let done = Kernel::load(&config(), Mode::Production).and_then(|mut kernel| {
        kernel.attach(&["veth0".into()])?;
        Ok(kernel.attached().iter().any(|one| one.egress))
    });
    match done {
        Ok(true) => format!("works; missing {missing:?}"),
        Ok(false) => format!("works without egress; missing {missing:?}"),
        Err(error) => format!("fails; missing {missing:?}; {error}"),
    }
}

/// What root with exactly these says of an attempt.
fn with(pair: &Pair, set: &Set) -> String {
    let each: Vec<String> = set.iter().map(|name| format!(",+{}", name.to_lowercase())).collect();
    let bounding = format!("--bounding-set=-all{}", each.concat());
    let out = Command::new("ip")
        .args(["netns", "exec", &pair.near, "setpriv", "--no-new-privs", &bounding])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let line = text
        .lines()
        .find_map(|line| Some(line.split_once("attempt: ")?.1.to_owned()));
    line.unwrap_or_else(|| panic!("{set:?}: {out:?}"))
}

/// The sets of the table of engines: the second column of what has them.
fn of_engines() -> Vec<Set> {
    let rows = DOCKER
        .lines()
        .filter(|line| line.starts_with("| Docker") || line.starts_with("| Podman"));
    let named = |row: &str| -> Set {
        let column = row.split('|').nth(2).unwrap();
        let words = column.split(',').map(str::trim);
        words
            .map(|word| *ALL.iter().find(|one| **one == word).unwrap())
            .collect()
    };
    rows.map(named).collect()
}

/// What the unit is said not to start without, and all it has.
fn of_the_unit() -> Set {
    let rows = SYSTEMD.lines().filter(|line| line.starts_with("| `CAP_"));
    let mut set = Set::new();
    for row in rows {
        let columns: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(columns[3], "it does not start", "{row}");
        for word in columns[1].split(", ") {
            let name = word.trim_matches('`').strip_prefix("CAP_").unwrap();
            set.insert(ALL.iter().find(|one| **one == name).unwrap());
        }
    }
    set
}

#[test]
fn what_is_needed_is_what_is_documented() {
    if std::env::var_os(CHILD).is_some() {
        println!("attempt: {}", attempt());
        return;
    }
    if kernel(&config(), Mode::Simulation).is_none() || !loss::tools(&["setpriv"]) {
        return;
    }
    if probe::kernel_version().is_none_or(|version| version < (5, 8, 0)) {
        println!("skipped: CAP_BPF and CAP_PERFMON came with Linux 5.8");
        return;
    }
    let pair = Pair::new();
    let mut enough = Vec::new();
    for bits in 0..1u32 << ALL.len() {
        let set: Set = ALL
            .iter()
            .enumerate()
            .filter(|(n, _)| bits & 1 << n != 0)
            .map(|(_, name)| *name)
            .collect();
        let said = with(&pair, &set);
        println!("{set:?}: {said}");
        let works = said.starts_with("works; ");
        let named = said.contains("loading kernel programs needs CAP_");
        assert!(works || named, "{set:?} is not told what it lacks: {said}");
        assert!(works || said.starts_with("fails; "), "{set:?}: {said}");
        // Whoever has SYS_ADMIN is asked for NET_ADMIN where this kernel would not: netlink wants it, also of him.
        let asked = said.contains("missing [\"CAP_NET_ADMIN\"]") && set.contains("SYS_ADMIN");
        assert!(
            works == said.contains("missing []") || (asked && works && probe::tcx()),
            "doctor errs about {set:?}: {said}"
        );
        if works && !asked {
            enough.push(set);
        }
    }
    let least = |set: &&Set| !enough.iter().any(|other| other != *set && other.is_subset(set));
    let least: Vec<&Set> = enough.iter().filter(least).collect();
    let documented: BTreeSet<Set> = of_engines().into_iter().chain([of_the_unit()]).collect();
    assert!(documented.len() >= 2, "the tables were not found: {documented:?}");
    assert_eq!(least.into_iter().cloned().collect::<BTreeSet<_>>(), documented);
}
