//! What those who mean well do: lines of real programs, some of which look as if they did not.

/// Where clients serve what the protected host fetches, and take what it keeps with them.
pub(super) const UPDATES: u16 = 8000;
/// Where a client takes copies over ssh.
pub(super) const BACKUP: u16 = 2022;

/// Something a client does over and over.
pub(super) struct Habit {
    pub(super) name: &'static str,
    /// What must be there besides the lab's own tools; none for nothing.
    pub(super) needs: &'static [&'static str],
    /// `{from}` and `{from6}` are the client's addresses, `{to}` and `{to6}` the server's, `{www}` a folder.
    pub(super) lines: &'static [&'static str],
}

const fn habit(name: &'static str, lines: &'static [&'static str]) -> Habit {
    Habit {
        name,
        needs: &[],
        lines,
    }
}

/// Of clients.
pub(super) const HABITS: &[Habit] = &[
    habit(
        "browsing",
        &[
            "curl -s --interface {from} -o /dev/null http://{to}/file http://{to}/page",
            "curl -s --interface {from} -o /dev/null http://{to}/file",
            "curl -s -I --interface {from} -o /dev/null http://{to}/page[1-3]",
            "curl -s -Z --parallel-max 6 --interface {from} -o /dev/null http://{to}/page[1-12] http://{to}/file",
        ],
    ),
    habit(
        "browsing, IPv6",
        &[
            "curl -g -s --interface {from6} -o /dev/null http://[{to6}]/file http://[{to6}]/page",
            "curl -g -s -I --interface {from6} -o /dev/null http://[{to6}]/page",
        ],
    ),
    habit(
        "slow download",
        &["curl -s --interface {from} -m 15 --limit-rate 40k -o /dev/null http://{to}/file"],
    ),
    habit(
        "polling",
        &[
            "curl -s -I --interface {from} --rate 1/s -o /dev/null http://{to}/page[1-8]",
            "curl -s -I --interface {from} --rate 20/m -o /dev/null http://{to}/page[1-6]",
        ],
    ),
    habit(
        "polling, anew each time",
        &[
            "curl -s --interface {from} -H Connection:close --rate 15/m -o /dev/null http://{to}/page[1-5]",
            "curl -s --interface {from} -H Connection:close --rate 30/m -o /dev/null http://{to}/file[1-9]",
            "curl -s -I --interface {from} -H Connection:close --rate 1/s -o /dev/null http://{to}/page[1-15]",
        ],
    ),
    Habit {
        name: "browsing, TLS",
        needs: &["socat", "openssl"],
        lines: &[
            "curl -s -k --interface {from} -o /dev/null https://{to}/file https://{to}/page",
            "curl -s -k --interface {from} -o /dev/null https://{to}/file",
            "curl -s -k -Z --parallel-max 6 --interface {from} -o /dev/null https://{to}/page[1-10] https://{to}/file",
            "curl -s -k --interface {from} -H Connection:close -o /dev/null https://{to}/page[1-6]",
            "curl -s -k --interface {from} --tls-max 1.2 -o /dev/null https://{to}/page[1-3]",
            "curl -g -s -k --interface {from6} -o /dev/null https://[{to6}]/file https://[{to6}]/page",
        ],
    },
    Habit {
        name: "polling, TLS",
        needs: &["socat", "openssl"],
        lines: &[
            "curl -s -k --interface {from} -H Connection:close --rate 20/m -o /dev/null https://{to}/page[1-6]",
            "curl -s -k -I --interface {from} --rate 30/m -o /dev/null https://{to}/page[1-9]",
            "curl -s -k --interface {from} -m 15 --limit-rate 40k -o /dev/null https://{to}/file",
        ],
    },
    habit(
        "probe of services",
        &[
            "nmap -n -Pn -sT -p22,53,80,443 {to}",
            "nmap -6 -n -Pn -sT -p22,53,80 {to6}",
        ],
    ),
    habit(
        "closed port",
        &[
            "curl -s --interface {from} -m 3 http://{to}:8443/",
            "curl -s --interface {from} -m 8 --retry 4 --retry-delay 1 --retry-connrefused http://{to}:8081/",
        ],
    ),
    habit(
        "wrong password",
        &[
            "ssh -b {from} -l clerk -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
             -o NumberOfPasswordPrompts=2 {to} true",
            "curl -s --interface {from} -o /dev/null -u admin:typo http://{to}/admin/",
        ],
    ),
    habit(
        "ping",
        &[
            "ping -q -I {from} -c 5 -i 0.5 -W 1 {to}",
            "ping -q -I {from} -c 12 -i 0.25 -s 800 -W 1 {to}",
            "ping -q -I {from} -c 4 -i 1 -s 1400 -W 1 {to}",
            "ping -6 -q -I {from6} -c 5 -i 0.5 -s 200 -W 1 {to6}",
        ],
    ),
    habit(
        "names",
        &[
            "dig @{to} -b {from} +short +tries=1 +time=2 www.lab.test",
            "dig @{to} -b {from} +short +tries=1 +time=2 a.lab.test b.lab.test c.lab.test d.lab.test e.lab.test f.lab.test",
            "dig @{to6} -b {from6} +short +tries=1 +time=2 AAAA www.lab.test",
        ],
    ),
    habit(
        "long names",
        &[
            "dig @{to} -b {from} +short +dnssec +tries=1 +time=2 TXT text.lab.test",
            "dig @{to} -b {from} +short +dnssec +bufsize=4096 +tries=1 +time=2 ANY long.lab.test TXT long.lab.test",
            "dig @{to} -b {from} +short +tries=1 +time=2 \
             d1a7c2e9f3b84d6aa0c5e1b2f7d3946e.0f9e8d7c6b5a49382716f0e1d2c3b4a5.edge-eu-central.cdn.lab.test \
             a7c2e9f3b84d6aa0c5e1b2f7d3946e11.1e2d3c4b5a69788796a5b4c3d2e1f00f.edge-eu-central.cdn.lab.test \
             c2e9f3b84d6aa0c5e1b2f7d3946e1177.2d3c4b5a69788796a5b4c3d2e1f00f1e.edge-eu-central.cdn.lab.test",
            "dig @{to} -b {from} +short +tries=1 +time=2 TXT \
             20260101._domainkey.mail.lab.test TXT _dmarc.lab.test TXT text.lab.test MX lab.test SRV _sip._tcp.lab.test",
        ],
    ),
    habit(
        "bulk",
        &[
            "iperf3 -c {to} -B {from} -t 2 -b 8M --connect-timeout 2000",
            "iperf3 -c {to} -B {from} -t 2 -b 8M -R --connect-timeout 2000",
        ],
    ),
    Habit {
        name: "ftp",
        needs: &["vsftpd"],
        lines: &[
            "curl -s --interface {from} -o /dev/null ftp://{to}/pub/file",
            "curl -s --interface {from} -o /dev/null ftp://{to}/pub/file[1-5]",
            "curl -s --interface {from} ftp://{to}/pub/",
            "curl -s --interface {from} --limit-rate 60k -m 15 -o /dev/null ftp://{to}/pub/file",
            "curl -s --interface {from} -P {from} -o /dev/null ftp://{to}/pub/file1",
            "curl -s --interface {from} --ftp-create-dirs -T {www}/file ftp://{to}/in/kept",
            "curl -g -s --interface {from6} -o /dev/null ftp://[{to6}]/pub/file1",
        ],
    },
    Habit {
        name: "wrong ftp password",
        needs: &["vsftpd"],
        lines: &["curl -s --interface {from} -m 10 -u clerk:typo ftp://{to}/pub/file"],
    },
];

/// Something the protected host does with hosts that mean well.
pub(super) struct Chore {
    pub(super) name: &'static str,
    /// Between two times, ms.
    pub(super) pause: [u64; 2],
    pub(super) lines: &'static [&'static str],
}

/// Of the protected host.
pub(super) const CHORES: &[Chore] = &[
    Chore {
        name: "server polls",
        pause: [3000, 3000],
        lines: &["curl -s -m 5 -o /dev/null http://{to}:{updates}/file"],
    },
    Chore {
        name: "server fetches",
        pause: [500, 8000],
        lines: &["curl -s -m 5 -o /dev/null http://{to}:{updates}/file"],
    },
    Chore {
        name: "health check",
        pause: [10_000, 10_000],
        lines: &["curl -s -m 5 -o /dev/null http://{to}:{updates}/task"],
    },
    Chore {
        name: "mirror",
        pause: [4000, 30_000],
        lines: &[
            "curl -s -m 15 -Z --parallel-max 4 -o /dev/null http://{to}:{updates}/file[1-24]",
            "curl -s -m 15 --limit-rate 1500k -o /dev/null http://{to}:{updates}/package",
        ],
    },
    Chore {
        name: "backup",
        pause: [15_000, 50_000],
        lines: &[
            "curl -s -m 18 --limit-rate 2M -o /dev/null --data-binary @{www}/package http://{to}:{updates}/cgi-bin/up",
            "sh {www}/backup.sh {to}",
        ],
    },
    Chore {
        name: "server resolves",
        pause: [200, 3000],
        lines: &[
            "dig @{to} +short +tries=1 +time=2 a.lab.test b.lab.test TXT text.lab.test",
            "dig @{to} +short +dnssec +tries=1 +time=2 TXT long.lab.test",
            "dig @{to} +short +tries=1 +time=2 \
             d1a7c2e9f3b84d6aa0c5e1b2f7d3946e.0f9e8d7c6b5a49382716f0e1d2c3b4a5.edge-eu-central.cdn.lab.test",
        ],
    },
    Chore {
        name: "monitoring",
        pause: [1000, 12_000],
        lines: &[
            "ping -q -c 3 -i 0.3 -s 56 -W 1 {to}",
            "ping -q -c 3 -i 0.3 -s 1200 -W 1 {to}",
            "ping -q -c 10 -i 1 -s 400 -W 1 {to}",
        ],
    },
];
