//! Lists of bad addresses: the first byte says how they are written.

use crate::Target;
use sentinel::intel::feeds::fuzzing;

/// The target.
pub const TARGET: Target = Target {
    name: "feeds",
    run,
    seeds,
};

fn run(bytes: &[u8]) {
    match bytes.split_first() {
        Some((4.., answers)) => {
            if let Ok(text) = std::str::from_utf8(answers) {
                fuzzing::lapi(text);
            }
        }
        Some((format, list)) => fuzzing::list(*format, list),
        None => {}
    }
}

fn seeds() -> Vec<Vec<u8>> {
    [
        "\0# comment\n203.0.113.7\n198.51.100.0/24 ; why\n2001:db8::/32\n::ffff:192.0.2.1\n",
        "\0<html>log in</html>\n",
        "\x01203.0.113.7\n198.51.100.9\n# END 2 entries\n",
        "\x01# END\n",
        "\x02{\"cidr\":\"203.0.113.0/24\",\"sblid\":\"SBL1\"}\n{\"type\":\"metadata\",\"records\":1}\n",
        "\x03203.0.113.7\t9\n198.51.100.9\t1\n",
        "\x04{\"new\":[{\"scope\":\"Ip\",\"value\":\"203.0.113.7\",\"type\":\"ban\",\"duration\":\"3h59m58.1s\"}],\"deleted\":null}\n\
         {\"new\":null,\"deleted\":[{\"scope\":\"Range\",\"value\":\"203.0.113.0/24\",\"type\":\"ban\",\"duration\":\"-1s\"}]}\n",
        "\x04{\"new\":[{\"scope\":\"Country\",\"value\":\"XX\",\"type\":\"captcha\",\"duration\":\"4h\",\"simulated\":true}]}\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}
