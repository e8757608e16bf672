//! Settings as fail2ban writes them: INI with continued lines, later files over earlier ones. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// Longest value, bytes, with the names of other keys filled in.
const VALUE: usize = 64 << 10;
/// How deep names may stand in values of names.
const DEPTH: usize = 8;
/// Names filled in, of one value.
const NAMES: usize = 4_096;

/// Values by section and key, keys in small letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ini {
    sections: BTreeMap<String, BTreeMap<String, String>>,
    /// Section and key of values that are left out: longer than [`VALUE`].
    too_long: BTreeSet<(String, String)>,
}

/// A value with its names filled in, where that is not too long.
pub(super) type Filled = Result<String, TooLong>;

/// A value is longer than any that is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

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
        let said = |section: &str| self.sections.get(section)?.get(&key);
        let before = said(section).or_else(|| said("DEFAULT")).map_or("", String::as_str);
        let name = format!("%(known/{key})s");
        let length = value.len() + value.matches(&name).count() * before.len();
        let place = (section.to_owned(), key.clone());
        // What was too long before would be missing in this one.
        let missing = value.contains(&name)
            && (self.too_long.contains(&place) || self.too_long.contains(&("DEFAULT".to_owned(), key.clone())));
        let whole = (length <= VALUE && !missing).then(|| value.replace(&name, before));
        let keys = self.sections.entry(section.to_owned()).or_default();
        if let Some(value) = whole {
            self.too_long.remove(&place);
            keys.insert(key, value);
        } else {
            self.too_long.insert(place);
            keys.remove(&key);
        }
    }

    /// Every section that says something of a key, with what: names of other keys filled in, of the section's own or of
    /// `DEFAULT`'s.
    pub(super) fn each(&self, key: &str) -> impl Iterator<Item = (&str, Filled)> {
        let said = key.to_owned();
        let filled = self.sections.iter().filter_map(move |(section, keys)| {
            let mut filling = Filling {
                ini: self,
                keys,
                to: String::new(),
                names: 0,
            };
            let whole = filling.add(keys.get(&said)?, 0);
            Some((section.as_str(), whole.map(|()| filling.to)))
        });
        let key = key.to_owned();
        let too_long = self.too_long.iter().filter(move |(_, one)| *one == key);
        filled.chain(too_long.map(|(section, _)| (section.as_str(), Err(TooLong))))
    }
}

/// A value in the making.
struct Filling<'a> {
    ini: &'a Ini,
    keys: &'a BTreeMap<String, String>,
    to: String,
    names: usize,
}

impl<'a> Filling<'a> {
    fn add(&mut self, text: &'a str, depth: usize) -> Result<(), TooLong> {
        let mut text = text;
        while let Some((before, rest)) = text.split_once("%(").filter(|_| depth < DEPTH) {
            let Some((name, after)) = rest.split_once(")s") else {
                break;
            };
            self.put(before)?;
            let found = self
                .keys
                .get(name)
                .or_else(|| self.ini.sections.get("DEFAULT")?.get(name));
            self.names += 1;
            if self.names > NAMES {
                return Err(TooLong);
            }
            match found {
                Some(value) => self.add(value, depth + 1)?,
                None => self.put(&format!("%({name})s"))?,
            }
            text = after;
        }
        self.put(text)
    }

    fn put(&mut self, text: &str) -> Result<(), TooLong> {
        if self.to.len() + text.len() > VALUE {
            return Err(TooLong);
        }
        self.to.push_str(text);
        Ok(())
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
                ("DEFAULT", Ok("127.0.0.1/8 ::1\n198.51.100.7 203.0.113.9".to_owned())),
                ("sshd", Ok("192.0.2.0/24, %(unknown)s".to_owned()))
            ]
        );
        let mut endless = Ini::default();
        endless.lay("[DEFAULT]\na = %(a)s%(a)s\n");
        assert!(endless.each("a").next().unwrap().1.unwrap().len() < 4096);
    }

    #[test]
    fn names_side_by_side_are_all_filled_in() {
        let mut ini = Ini::default();
        let many = "%(home)s ".repeat(40);
        ini.lay(&format!("[DEFAULT]\nhome = ::1\nignoreip = {many}\n"));
        let value = ini.each("ignoreip").next().unwrap().1.unwrap();
        assert_eq!(value.split(' ').filter(|one| *one == "::1").count(), 40, "{value}");
    }

    #[test]
    fn a_value_that_grows_without_bound_is_told_and_not_kept() {
        let mut ini = Ini::default();
        let doubled = "[DEFAULT]\nignoreip = %(known/ignoreip)s %(known/ignoreip)s\n".repeat(60);
        ini.lay(&format!("[DEFAULT]\nignoreip = 192.0.2.1\n{doubled}"));
        let all: Vec<_> = ini.each("ignoreip").collect();
        assert_eq!(all, [("DEFAULT", Err(TooLong))]);
        ini.lay("[DEFAULT]\nignoreip = 192.0.2.2\n");
        let all: Vec<_> = ini.each("ignoreip").collect();
        assert_eq!(all, [("DEFAULT", Ok("192.0.2.2".to_owned()))], "said anew");
        // Each name stands for sixteen of the one before.
        let mut wide = Ini::default();
        let line = |n: usize| format!("a{n} = {}", format!("%(a{})s", n - 1).repeat(16));
        let lines = (1..8).map(line).collect::<Vec<_>>().join("\n");
        wide.lay(&format!("[DEFAULT]\na0 = \n{lines}"));
        assert_eq!(wide.each("a7").next().unwrap().1, Err(TooLong));
    }
}
