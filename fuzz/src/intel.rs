//! Answers of threat intelligence: the first byte says whose.

use crate::{Target, files};
use sentinel::intel::clients::fuzzing;

/// The target.
pub const TARGET: Target = Target {
    name: "intel",
    run,
    seeds,
};

/// Providers, in the order of the settings.
const PROVIDERS: [&str; 6] = [
    "virustotal",
    "abuseipdb",
    "otx",
    "ipqualityscore",
    "greynoise",
    "threatcrowd",
];

fn run(bytes: &[u8]) {
    if let Some((provider, answer)) = bytes.split_first() {
        fuzzing::answer(*provider, answer);
    }
}

/// The answers their documentation shows.
fn seeds() -> Vec<Vec<u8>> {
    let named = |path: &std::path::Path| {
        let name = path.file_name()?.to_str()?;
        PROVIDERS.iter().position(|provider| name.starts_with(provider))
    };
    files("sentinel/src/intel/clients/testdata", ".json")
        .iter()
        .filter_map(|path| Some([vec![named(path)? as u8], std::fs::read(path).ok()?].concat()))
        .collect()
}
