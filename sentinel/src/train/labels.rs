//! Labels that tables may carry, and the families they belong to.

/// What is no attack.
pub const BENIGN: &str = "benign";

/// A label of attacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// In the table's column `family`.
    pub name: &'static str,
    /// The family the second stage calls it; none if it is trained as an attack and called unknown.
    pub family: Option<&'static str>,
    /// MITRE ATT&CK technique.
    pub technique: &'static str,
}

const fn label(name: &'static str, family: Option<&'static str>, technique: &'static str) -> Label {
    Label {
        name,
        family,
        technique,
    }
}

/// All of them.
pub const LABELS: &[Label] = &[
    // By the name of the family, where nothing finer is known.
    label("scan", Some("scan"), "T1046"),
    label("flood", Some("flood"), "T1498"),
    label("brute_force", Some("brute_force"), "T1110"),
    label("tunnel", Some("tunnel"), "T1572"),
    label("scan_slow", Some("scan"), "T1046"),
    label("scan_svc", Some("scan"), "T1046"),
    label("sweep", Some("scan"), "T1018"),
    label("flood_syn", Some("flood"), "T1498.001"),
    label("flood_udp", Some("flood"), "T1498.001"),
    label("flood_icmp", Some("flood"), "T1498.001"),
    label("flood_ack", Some("flood"), "T1498.001"),
    label("flood_spoofed", Some("flood"), "T1498.001"),
    label("flood_amp", Some("flood"), "T1498.002"),
    label("flood_http", Some("flood"), "T1499.002"),
    label("slow_dos", Some("slow_dos"), "T1499.002"),
    label("bf_ssh", Some("brute_force"), "T1110"),
    label("bf_ftp", Some("brute_force"), "T1110"),
    label("bf_http", Some("brute_force"), "T1110"),
    label("bruteforce", Some("brute_force"), "T1110"),
    label("c2", Some("c2"), "T1071"),
    label("dns_tunnel", Some("tunnel"), "T1572"),
    label("icmp_tunnel", Some("tunnel"), "T1095"),
    label("exfiltration", Some("tunnel"), "T1048"),
    label("ics_attack", None, "T0831"),
];

/// Families of the second stage.
pub const FAMILIES: &[&str] = &["brute_force", "c2", "flood", "scan", "slow_dos", "tunnel"];

/// Whether a label may be trained on.
///
/// # Errors
/// What is wrong with it, and the mend.
pub fn check(name: &str) -> Result<(), String> {
    if name == BENIGN || find(name).is_some() {
        return Ok(());
    }
    let near = nearest(name).map_or_else(String::new, |name| format!(" (did you mean `{name}`?)"));
    let known: Vec<_> = LABELS.iter().map(|label| label.name).collect();
    Err(format!(
        "the label `{name}` is unknown{near}; known are benign, {}",
        known.join(", ")
    ))
}

fn nearest(name: &str) -> Option<&'static str> {
    let names = LABELS.iter().map(|label| label.name).chain([BENIGN]);
    let scored = names.map(|known| (strsim::damerau_levenshtein(name, known), known));
    scored
        .min()
        .filter(|(distance, _)| *distance <= 3)
        .map(|(_, known)| known)
}

/// What is known of a label; none for `benign` and for what is unknown.
pub fn find(name: &str) -> Option<&'static Label> {
    LABELS.iter().find(|label| label.name == name)
}

/// The family of a label, as verdicts name it: `benign`, one of [`FAMILIES`] or `unknown`.
pub fn family_of(name: &str) -> &'static str {
    if name == BENIGN {
        return BENIGN;
    }
    find(name)
        .and_then(|label| label.family)
        .unwrap_or(crate::model::UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_told_apart_and_has_a_label() {
        for label in LABELS {
            assert!(label.family.is_none_or(|f| FAMILIES.contains(&f)), "{}", label.name);
            assert!(label.technique.starts_with('T'));
        }
        for family in FAMILIES {
            assert!(LABELS.iter().any(|label| label.family == Some(family)), "{family}");
        }
        let known = ["sweep", "ics_attack", "benign", "something"].map(family_of);
        assert_eq!(known, ["scan", "unknown", "benign", "unknown"]);
    }
}
