//! What of the decisions a bouncer asks for. Names that are not known are passed over, as CrowdSec does: bouncers are newer
//! than whoever answers them.

use super::shape::DecisionDto;
use super::told::{kind, origin};
use crate::api::error::Problem;
use crate::api::query::{short, target};
use crate::types::Numbered;
use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use ipnet::IpNet;
use std::str::FromStr;

/// What is asked for; empty lists are no limit.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::api) struct Wish {
    /// Everything, not what changed.
    pub(super) startup: bool,
    pub(super) offset: usize,
    pub(super) limit: usize,
    simulated: bool,
    /// `ip` or `range`, in small letters.
    scopes: Vec<String>,
    value: Option<String>,
    r#type: Option<String>,
    origins: Vec<String>,
    contains: Vec<String>,
    contains_not: Vec<String>,
    /// Only what covers it; the other way round where `outside` is not so.
    on: Option<IpNet>,
    outside: bool,
}

impl<S: Sync> FromRequestParts<S> for Wish {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|error| wrong(format!("the query cannot be read: {error}")))?;
        Self::read(&pairs).map_err(wrong)
    }
}

fn wrong(detail: String) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "bad-request",
        "The request cannot be understood",
        detail,
    )
    .for_bouncers()
}

impl Wish {
    fn read(pairs: &[(String, String)]) -> Result<Self, String> {
        let text = |name: &str| {
            let found = pairs.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
        };
        let list = |name: &str| -> Vec<String> {
            let all = text(name).unwrap_or_default().split(',');
            all.map(str::trim)
                .filter(|one| !one.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let net = |name| text(name).map(target).transpose();
        let on = match (net("ip")?, net("range")?) {
            (Some(_), Some(_)) => return Err("give either `ip` or `range`".to_owned()),
            (ip, range) => ip.or(range),
        };
        let mut scopes = list("scopes");
        scopes.extend(list("scope"));
        let scopes = scopes.into_iter().map(|scope| scope.to_ascii_lowercase()).collect();
        Ok(Self {
            startup: flag("startup", text("startup"))?.unwrap_or(false),
            offset: number("offset", text("offset"))?.unwrap_or(0),
            limit: number("limit", text("limit"))?.unwrap_or(usize::MAX),
            simulated: flag("simulated", text("simulated"))?.unwrap_or(false),
            scopes,
            value: text("value").map(canonical),
            r#type: text("type").map(str::to_owned),
            origins: list("origins"),
            contains: list("scenarios_containing"),
            contains_not: list("scenarios_not_containing"),
            on,
            outside: flag("contains", text("contains"))?.unwrap_or(true),
        })
    }

    /// Everything.
    #[cfg(test)]
    pub(super) fn any() -> Self {
        Self::read(&[]).unwrap()
    }

    /// The prefix that everything asked for overlaps.
    pub(super) fn overlaps(&self) -> Option<IpNet> {
        self.on
    }

    /// Whether simulated ones are asked for, too.
    pub(super) fn simulated(&self) -> bool {
        self.simulated
    }

    /// Whether a decision is among what is asked for, whether or not it is in force.
    pub(super) fn has(&self, one: &Numbered) -> bool {
        let decision = &one.decision;
        let scope = if decision.is_wide() { "range" } else { "ip" };
        let any = |list: &[String], is: &dyn Fn(&str) -> bool| list.iter().any(|text| is(text));
        let value = || {
            if decision.is_wide() {
                decision.target.to_string()
            } else {
                decision.target.addr().to_string()
            }
        };
        if !self.scopes.is_empty() && !any(&self.scopes, &|text| text == scope)
            || self.value.as_ref().is_some_and(|wanted| *wanted != value())
            || self
                .r#type
                .as_deref()
                .is_some_and(|wanted| Some(wanted) != kind(decision))
            || !self.origins.is_empty() && !any(&self.origins, &|text| text == origin(decision))
        {
            return false;
        }
        if let Some(on) = self.on {
            let (outer, inner) = if self.outside {
                (decision.target, on)
            } else {
                (on, decision.target)
            };
            if !outer.contains(&inner) {
                return false;
            }
        }
        if self.contains.is_empty() && self.contains_not.is_empty() {
            return true;
        }
        let scenario = DecisionDto::scenario(one);
        let named = |text: &str| scenario.contains(text);
        (self.contains.is_empty() || any(&self.contains, &named)) && !any(&self.contains_not, &named)
    }
}

/// An address or prefix as it is written here; anything else as it came.
fn canonical(text: &str) -> String {
    match target(text) {
        Ok(net) if net.prefix_len() == net.max_prefix_len() => net.addr().to_string(),
        Ok(net) => net.to_string(),
        Err(_) => text.to_owned(),
    }
}

fn flag(name: &str, text: Option<&str>) -> Result<Option<bool>, String> {
    text.map(|text| match text {
        "true" | "1" | "True" | "TRUE" => Ok(true),
        "false" | "0" | "False" | "FALSE" => Ok(false),
        _ => Err(format!("`{name}` must be `true` or `false`, not `{}`", short(text))),
    })
    .transpose()
}

fn number<T: FromStr>(name: &str, text: Option<&str>) -> Result<Option<T>, String> {
    let parse = |text: &str| {
        text.parse()
            .map_err(|_| format!("`{name}` must be a whole number, not `{}`", short(text)))
    };
    text.map(parse).transpose()
}

#[cfg(test)]
mod tests {
    use super::super::told::testing::numbered;
    use super::*;

    fn wish(query: &str) -> Result<Wish, String> {
        let uri = format!("/v1/decisions?{query}").parse().unwrap();
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&uri).unwrap();
        Wish::read(&pairs)
    }

    #[test]
    fn decisions_are_narrowed_as_crowdsec_does() {
        let all = [
            numbered(1, "203.0.113.7/32"),
            numbered(2, "203.0.113.0/24"),
            numbered(3, "2001:db8::/32"),
        ];
        let cases: &[(&str, &[i64])] = &[
            ("", &[1, 2, 3]),
            ("no_such=1&additional_pull=true&dedup=false", &[1, 2, 3]),
            ("scopes=Ip", &[1]),
            ("scopes=ip,range&scope=", &[1, 2, 3]),
            ("scope=Range", &[2, 3]),
            ("scopes=Country", &[]),
            ("ip=203.0.113.7", &[1, 2]),
            ("ip=203.0.113.8", &[2]),
            ("range=203.0.113.0/24", &[2]),
            ("range=203.0.113.0/24&contains=false", &[1, 2]),
            ("value=203.0.113.7", &[1]),
            ("value=203.0.113.0/24", &[2]),
            ("value=2001:DB8::/32", &[3]),
            ("value=somebody", &[]),
            ("type=ban", &[1, 2, 3]),
            ("type=captcha", &[]),
            ("origins=crowdsec,lists", &[1, 2, 3]),
            ("origins=CAPI", &[]),
            ("scenarios_containing=port,none", &[1, 2, 3]),
            ("scenarios_containing=ssh", &[]),
            ("scenarios_not_containing=port", &[]),
        ];
        for (query, numbers) in cases {
            let wish = wish(query).unwrap();
            let kept: Vec<i64> = all.iter().filter(|one| wish.has(one)).map(|one| one.number).collect();
            assert_eq!(kept, *numbers, "{query}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_the_mend() {
        for (query, words) in [
            ("ip=somebody", "neither an address"),
            ("ip=203.0.113.7&range=203.0.113.0/24", "either `ip` or `range`"),
            ("range=203.0.113.7/24", "bits set behind"),
            ("startup=perhaps", "`true` or `false`"),
            ("limit=-1", "a whole number"),
        ] {
            let said = wish(query).unwrap_err();
            assert!(said.contains(words), "{query}: {said}");
        }
    }
}
