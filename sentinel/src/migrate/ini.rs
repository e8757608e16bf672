//! Settings as fail2ban writes them: INI with continued lines, later files over earlier ones. Pure.

use std::collections::BTreeMap;

/// Values by section and key, keys in small letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ini(BTreeMap<String, BTreeMap<String, String>>);

impl Ini {
    /// Lays a file over what is there. `%(known/KEY)s` is what stood there before, or in `DEFAULT` (jail.conf(5)).
    pub(super) fn lay(&mut self, text: &str) {
        let mut section = String::new();
        let mut open: Option<(String, String)> = None;
        for line in text.lines() {
            let bare = line.trim();
            let continued = line.starts_with([' ', '\t']) && open.is_some();
            if bare.is_empty() || bare.starts_with(['#', ';']) {
                continue;
            }
            if continued && let Some((_, value)) = &mut open {
                value.push('\n');
                value.push_str(uncommented(bare));
                continue;
            }
            self.set(&section, open.take());
            if let Some(name) = bare.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                name.0.trim().clone_into(&mut section);
            } else if let Some((key, value)) = bare.split_once(['=', ':']) {
                open = Some((key.trim().to_ascii_lowercase(), uncommented(value.trim()).to_owned()));
            }
        }
        self.set(&section, open);
    }

    fn set(&mut self, section: &str, entry: Option<(String, String)>) {
        let Some((key, value)) = entry else { return };
        let said = |section: &str| self.0.get(section)?.get(&key).cloned();
        let before = said(section).or_else(|| said("DEFAULT")).unwrap_or_default();
        let value = value.replace(&format!("%(known/{key})s"), &before);
        self.0.entry(section.to_owned()).or_default().insert(key, value);
    }

    /// Every section that says something of a key, with what: names of other keys filled in, of the section's own or of
    /// `DEFAULT`'s.
    pub(super) fn each(&self, key: &str) -> impl Iterator<Item = (&str, String)> {
        let key = key.to_owned();
        self.0
            .iter()
            .filter_map(move |(section, keys)| Some((section.as_str(), self.filled(keys, keys.get(&key)?, 0))))
    }

    fn filled(&self, keys: &BTreeMap<String, String>, text: &str, depth: usize) -> String {
        let Some((before, rest)) = text.split_once("%(").filter(|_| depth < 8) else {
            return text.to_owned();
        };
        let Some((name, after)) = rest.split_once(")s") else {
            return text.to_owned();
        };
        let found = keys.get(name).or_else(|| self.0.get("DEFAULT")?.get(name));
        let value = match found {
            Some(value) => self.filled(keys, value, depth + 1),
            None => format!("%({name})s"),
        };
        format!("{before}{value}{}", self.filled(keys, after, depth + 1))
    }
}

/// Without a remark behind it.
fn uncommented(value: &str) -> &str {
    let remark = [" #", " ;", "\t#", "\t;"]
        .iter()
        .filter_map(|sign| value.find(sign))
        .min();
    remark.map_or(value, |at| value[..at].trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_files_lie_over_earlier_ones() {
        let mut ini = Ini::default();
        ini.lay("# head\n[DEFAULT]\nhome = 192.0.2.0/24\nignoreip = 127.0.0.1/8 ::1\n  198.51.100.7  # office\n\n[sshd]\nport=ssh\n");
        ini.lay("[sshd]\nIgnoreIP : %(home)s, %(unknown)s\n[DEFAULT]\nignoreip = %(known/ignoreip)s 203.0.113.9\n");
        let all: Vec<_> = ini.each("ignoreip").collect();
        assert_eq!(
            all,
            [
                ("DEFAULT", "127.0.0.1/8 ::1\n198.51.100.7 203.0.113.9".to_owned()),
                ("sshd", "192.0.2.0/24, %(unknown)s".to_owned())
            ]
        );
        let mut endless = Ini::default();
        endless.lay("[DEFAULT]\na = %(a)s%(a)s\n");
        assert!(endless.each("a").next().unwrap().1.len() < 4096);
    }
}
