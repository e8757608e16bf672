use super::*;
use crate::config::load_with_origins;
use std::fmt::Write;

const SECRET: &str = "hunter2sentinel";

fn find<'t>(told: &'t [Told], path: &str) -> &'t Setting {
    let mut level = told;
    let mut parts = path.split('.').peekable();
    loop {
        let part = parts.next().expect("a setting");
        let at = level
            .iter()
            .find(|told| match told {
                Told::Section(section) => section.name == part,
                Told::Setting(setting) => setting.name == part,
            })
            .unwrap_or_else(|| panic!("{path}: no {part}"));
        match at {
            Told::Section(section) => level = &section.settings,
            Told::Setting(setting) => {
                assert!(parts.peek().is_none(), "{path} goes on");
                return setting;
            }
        }
    }
}

fn count(told: &[Told]) -> usize {
    told.iter()
        .map(|told| match told {
            Told::Section(section) => count(&section.settings),
            Told::Setting(_) => 1,
        })
        .sum()
}

#[test]
fn every_key_is_told_once_with_where_it_came_from() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("settings.yml");
    std::fs::write(
        &file,
        "mode: simulation\nenable_production_actions: true\nflow:\n  max_flows: 2048\n",
    )
    .unwrap();
    let env = [("SENTINEL_FLOW__IDLE_TIMEOUT".to_owned(), "90s".to_owned())];
    let (config, origins) = load_with_origins(std::slice::from_ref(&file), env).unwrap();
    let told = told(&config, &origins);
    let secrets = KEY_VARIABLES.len() + secrets::SECRETS.len();
    assert_eq!(count(&told), keys::all().count() + secrets);
    for key in keys::all() {
        let setting = find(&told, key.path);
        assert_eq!(setting.key, key.path);
        assert!(
            !setting.description.is_empty() && !setting.expects.is_empty(),
            "{}",
            key.path
        );
    }
    let flows = find(&told, "flow.max_flows");
    assert_eq!((flows.value.as_str(), flows.changed), ("2048", true));
    assert_eq!(
        flows.origin,
        ToldOrigin::File {
            file: file.clone(),
            line: Some(4)
        }
    );
    let idle = find(&told, "flow.idle_timeout");
    assert_eq!(
        serde_json::to_value(&idle.origin).unwrap(),
        serde_json::json!({ "from": "environment", "variable": "SENTINEL_FLOW__IDLE_TIMEOUT" })
    );
    let untouched = find(&told, "flow.max_sources");
    assert_eq!((&untouched.origin, untouched.changed), (&ToldOrigin::Default, false));
    // Written and without effect while the mode is simulation: told as it was written.
    assert_eq!(find(&told, "enable_production_actions").value, "true");
}

#[test]
fn no_secret_is_told_and_each_is_said_to_be_set() {
    let directory = tempfile::tempdir().unwrap();
    let key_file = directory.path().join("key");
    std::fs::write(&key_file, format!("{SECRET}\n")).unwrap();
    let mut text = format!(
        "intel:\n  cache: \"redis://:{SECRET}@192.0.2.1/\"\n  feeds:\n    custom: [\"mine=https://192.0.2.2/{SECRET}\"]\n  \
         sources:\n"
    );
    for (variable, source) in KEY_VARIABLES {
        writeln!(text, "    {source}:\n      url: \"https://192.0.2.3/{SECRET}\"").unwrap();
        if variable.is_none() {
            writeln!(text, "      key_file: {}", key_file.display()).unwrap();
        }
    }
    let file = directory.path().join("settings.yml");
    std::fs::write(&file, text).unwrap();
    let env = KEY_VARIABLES
        .iter()
        .filter_map(|(variable, _)| Some(((*variable)?.to_owned(), SECRET.to_owned())));
    let (config, origins) = load_with_origins(&[file], env).unwrap();
    let told = told(&config, &origins);
    let text = serde_json::to_string(&told).unwrap();
    assert!(!text.contains("hunter2"), "{text}");
    for (variable, source) in KEY_VARIABLES {
        let key = find(&told, &format!("intel.sources.{source}.key"));
        assert_eq!((key.value.as_str(), key.masked), ("***", true), "{source}");
        let from_file = matches!(key.origin, ToldOrigin::File { .. });
        assert_eq!(from_file, variable.is_none(), "{:?}", key.origin);
        assert!(find(&told, &format!("intel.sources.{source}.url")).masked);
    }
    assert_eq!(find(&told, "intel.cache").value, "redis ***");
    assert_eq!(find(&told, "intel.feeds.custom").value, "mine=***");

    let none = super::told(&Config::default(), &Origins::default());
    let key = find(&none, "intel.sources.virustotal.key");
    assert_eq!((key.value.as_str(), key.masked), ("not set", false));
    assert_eq!(key.origin, ToldOrigin::Default);
}
