//! Lists in every format, good and hostile.

use super::*;
use proptest::prelude::*;

fn defaults() -> Defaults {
    Defaults {
        action: ActionKind::BlockIp,
        duration: Duration::from_hours(4),
        reason: "imported".into(),
        actor: "ann".into(),
    }
}

type Good = (u32, String, ActionKind, u64, String);

fn lines(text: &str, format: Format) -> (Vec<Good>, Vec<(u32, String)>) {
    let (good, bad) = read(text.as_bytes(), format, &defaults()).unwrap();
    (
        good.into_iter()
            .map(|one| {
                let wish = one.wish;
                (
                    one.line,
                    wish.target.to_string(),
                    wish.action,
                    wish.duration.as_secs(),
                    wish.reason,
                )
            })
            .collect(),
        bad.into_iter().map(|bad| (bad.line, bad.problem)).collect(),
    )
}

#[test]
fn values_are_addresses_and_prefixes_with_comments() {
    let (good, bad) = lines(
        "# ours\n203.0.113.7\n\n2001:db8::/48 # theirs\r\nnonsense\n203.0.113.9/24\n",
        Format::Values,
    );
    let targets: Vec<_> = good.iter().map(|g| (g.0, g.1.as_str())).collect();
    assert_eq!(targets, [(2, "203.0.113.7/32"), (4, "2001:db8::/48")]);
    assert_eq!(bad.iter().map(|b| b.0).collect::<Vec<_>>(), [5, 6]);
    assert!(bad[0].1.contains("neither an address nor a prefix"), "{bad:?}");
    assert!(bad[1].1.contains("write `203.0.113.0/24`"), "{bad:?}");
}

#[test]
fn what_crowdsec_exports_is_understood() {
    let csv = "duration,scope,value,type,reason\n24h,Ip,203.0.113.7,ban,\"a \"\"bad\"\" one,\nreally\"\n\
               ,range,198.51.100.0/24,,\n1h,country,FR,ban,x\n1h,ip,203.0.113.8,captcha,x\n4h,ip,203.0.113.9\n";
    let (good, bad) = lines(csv, Format::Csv);
    assert_eq!(
        good,
        [
            (
                2,
                "203.0.113.7/32".into(),
                ActionKind::BlockIp,
                86_400,
                "a \"bad\" one,\nreally".into()
            ),
            (
                4,
                "198.51.100.0/24".into(),
                ActionKind::BlockIp,
                14_400,
                "imported".into()
            ),
        ]
    );
    assert_eq!(bad.iter().map(|b| b.0).collect::<Vec<_>>(), [5, 6, 7]);
    for (at, words) in [(0, "scope `country`"), (1, "type `captcha`"), (2, "3 cells")] {
        assert!(bad[at].1.contains(words), "{bad:?}");
    }
    let json = "[\n {\"value\":\"203.0.113.7\",\"scope\":\"Ip\",\"type\":\"ban\",\"duration\":\"1h\",\"id\":7},\n\n {\"ip\":\"203.0.113.8\",\n  \
                \"scenario\":\"ssh\"},\n 7.5e0 ]";
    let failed = read(json.as_bytes(), Format::Json, &defaults());
    let (good, bad) = match failed {
        Ok((good, bad)) => (good, bad),
        Err(text) => panic!("{text}"),
    };
    assert_eq!(good.iter().map(|g| g.line).collect::<Vec<_>>(), [2, 4]);
    assert_eq!(good[1].wish.reason, "ssh");
    assert_eq!((bad.len(), bad[0].line), (1, 6));
    let (good, bad) = lines(
        "{\"value\":\"203.0.113.7\"}\n{\"value\":\"203.0.113.8\",\"colour\":\"red\"}\n",
        Format::Json,
    );
    assert_eq!((good.len(), bad.len()), (1, 1));
    assert!(bad[0].1.contains("`colour`"), "{bad:?}");
}

#[test]
fn a_list_that_cannot_be_read_as_a_whole_says_where_and_why() {
    for (text, format, words) in [
        ("", Format::Csv, "empty"),
        ("203.0.113.7\n", Format::Csv, "names a column"),
        ("duration,reason\n", Format::Csv, "--format values"),
        ("value,ip\n", Format::Csv, "two columns"),
        ("[{\"value\":\"203.0.113.7\"}", Format::Json, "missing"),
        ("[{\"value\":\"203.0.113.7\"},", Format::Json, "no end"),
        ("[{\"value\":\"203.0.113.7\"", Format::Json, "ends too soon"),
        ("[] x", Format::Json, "behind the end"),
        ("\n\n[\n{]", Format::Json, "line 4"),
    ] {
        match read(text.as_bytes(), format, &defaults()) {
            Err(said) => assert!(said.contains(words), "{text:?}: {said}"),
            Ok(_) => panic!("{text:?} was read"),
        }
    }
    let said = read(b"203.0.113.7\n\xff\n", Format::Values, &defaults()).err().unwrap();
    assert!(said.starts_with("line 2 is not UTF-8"), "{said}");
    // An open quote ends with its line.
    let (good, bad) = lines("value,reason\n203.0.113.7,\"open\n203.0.113.8,x\n", Format::Csv);
    assert_eq!((good.len(), bad.len(), bad[0].0), (1, 1, 2));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_and_every_line_is_told_once(text in "[ -~\n\",\\[\\]{}:#]{0,200}", format in 0..3) {
        let format = [Format::Csv, Format::Json, Format::Values][format as usize];
        if let Ok((good, bad)) = read(text.as_bytes(), format, &defaults()) {
            let last = 1 + newlines(&text);
            prop_assert!(good.iter().map(|g| g.line).chain(bad.iter().map(|b| b.line)).all(|line| (1..=last).contains(&line)));
        }
    }
}
