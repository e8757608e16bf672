use super::*;
use sentinel_common::packet::{TCP_ACK, TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN};

fn read(text: &str) -> Result<FlowLog, String> {
    read_most(text, 100)
}

fn read_most(text: &str, most: usize) -> Result<FlowLog, String> {
    FlowLog::of(Path::new("conn.log"), text.as_bytes(), most).map_err(|error| error.to_string())
}

const ZEEK: &str = "#separator \\x09\n#set_separator\t,\n#unset_field\t-\n#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\t\
    id.resp_p\tproto\tservice\tduration\torig_bytes\tresp_bytes\tconn_state\thistory\torig_pkts\torig_ip_bytes\tresp_pkts\t\
    resp_ip_bytes\tlabel\tdetailedlabel\n";

/// A line with these values.
fn zeek(values: &[&str; 19]) -> String {
    format!("{ZEEK}{}\n", values.join("\t"))
}

const CONNECTION: [&str; 19] = [
    "1655071198.444458",
    "CHL",
    "192.0.2.1",
    "62771",
    "198.51.100.2",
    "443",
    "tcp",
    "ssl",
    "1.135424",
    "396",
    "639",
    "SF",
    "ShADdaFr",
    "14",
    "1016",
    "16",
    "1226",
    "Benign",
    "Microsoft",
];

fn side(packets: u64, bytes: u64, payload: u64, flags: u8) -> Side {
    Side {
        packets,
        bytes,
        payload,
        flags,
    }
}

#[test]
fn a_connection_of_zeek_with_tabs_and_as_json() {
    let expected = LoggedFlow {
        start_ns: 1_655_071_198_444_458_000,
        lasted_ns: 1_135_424_000,
        proto: 6,
        ends: [
            ("192.0.2.1".parse().unwrap(), 62771),
            ("198.51.100.2".parse().unwrap(), 443),
        ],
        sides: [
            side(14, 1016, 396, TCP_SYN | TCP_ACK | TCP_FIN),
            side(16, 1226, 639, TCP_SYN | TCP_ACK | TCP_RST),
        ],
        label: 0,
    };
    let log = read(&zeek(&CONNECTION)).unwrap();
    assert_eq!(log.flows, [expected]);
    assert_eq!(log.labels, [("Benign".into(), "Microsoft".into())]);

    let json = |ts: &str| {
        format!(
            r#"{{"ts":{ts},"uid":"C","id.orig_h":"192.0.2.1","id.orig_p":62771,"id.resp_h":"198.51.100.2","id.resp_p":443,"proto":"tcp","duration":1.135424,"orig_bytes":396,"resp_bytes":639,"history":"ShADdaFr","orig_pkts":14,"orig_ip_bytes":1016,"resp_pkts":16,"resp_ip_bytes":1226}}"#
        )
    };
    let log = read(&json("1655071198.444458")).unwrap();
    assert_eq!(
        (log.flows, log.labels),
        (vec![expected], vec![(String::new(), String::new())])
    );
    let log = read(&json("\"2022-06-12T21:59:58.444458Z\"")).unwrap();
    assert_eq!(log.flows[0].start_ns, 1_655_071_198_444_458_000);
}

#[test]
fn labels_as_iot_23_has_them_and_logs_in_order_of_their_ends() {
    let text = zeek(&CONNECTION).replace("\tlabel\tdetailedlabel", "\ttunnel_parents   label   detailed-label");
    let text = text.replace("\tBenign\tMicrosoft", "\t-   Malicious   PartOfAHorizontalPortScan");
    let earlier = text.lines().last().unwrap().replace("1655071198", "1655071100");
    let log = read(&format!("{text}{earlier}\n#close\t2022-06-18\n")).unwrap();
    assert_eq!(log.labels, [("Malicious".into(), "PartOfAHorizontalPortScan".into())]);
    assert!(log.flows.len() == 2 && log.flows[0].start_ns < log.flows[1].start_ns);
}

#[test]
fn messages_of_icmp_have_the_ports_that_they_have_live() {
    let mut echo = CONNECTION;
    (echo[3], echo[5], echo[6], echo[12]) = ("8", "0", "icmp", "-");
    let log = read(&zeek(&echo)).unwrap();
    assert_eq!(
        (log.flows[0].proto, log.flows[0].ends[0].1, log.flows[0].ends[1].1),
        (1, 8, 0)
    );
    (echo[2], echo[4], echo[3], echo[5]) = ("2001:db8::1", "2001:db8::2", "128", "0");
    let log = read(&zeek(&echo)).unwrap();
    assert_eq!(
        (log.flows[0].proto, log.flows[0].ends[0].1, log.flows[0].ends[1].1),
        (58, 128, 129)
    );
}

#[test]
fn what_is_no_flow_of_ours_is_left_out_and_counted() {
    let mut other = CONNECTION;
    other[6] = "unknown_transport";
    let mut none = CONNECTION;
    (none[13], none[15]) = ("0", "-");
    let rows = |values: &[&str; 19]| values.join("\t");
    let log = read(&format!(
        "{ZEEK}{}\n{}\n{}\n",
        rows(&other),
        rows(&none),
        rows(&CONNECTION)
    ))
    .unwrap();
    assert_eq!((log.flows.len(), log.left_out), (1, 2));
}

const ARGUS: &str =
    "StartTime,Dur,Proto,SrcAddr,Sport,Dir,DstAddr,Dport,State,sTos,dTos,TotPkts,TotBytes,SrcBytes,SrcPkts,Label\n";

#[test]
fn flows_of_argus_lose_their_frames_headers() {
    let text = format!(
        "{ARGUS}2019/04/04 16:23:00.325010,0.5,tcp,192.0.2.1,48427,   ->,198.51.100.2,0x0050,FSPA_SRA,0,0,9,1046,646,5,flow=From-Normal\n\
         2019/04/04 16:23:01.000000,0.000000,icmp,192.0.2.1,0x0008,  <->,198.51.100.2,,ECO,0,0,2,196,98,1,\n\
         2019/04/04 16:23:02.000000,0.000000,udp,192.0.2.9,53,   <-,198.51.100.2,4000,INT,0,0,1,80,80,1,\n\
         2019/04/04 16:23:02.000000,0.0,arp,00:00:00:00:00:00,,  who,192.0.2.2,,CON,,,2,60,60,1,\n"
    );
    let log = read(&text).unwrap();
    assert_eq!(log.left_out, 1);
    let [connection, echo, answer] = &log.flows[..] else {
        panic!("{log:#?}");
    };
    assert_eq!(connection.start_ns, 1_554_394_980_325_010_000);
    assert_eq!(connection.ends.map(|(_, port)| port), [48427, 80]);
    let flags = [TCP_FIN | TCP_SYN | TCP_PSH | TCP_ACK, TCP_SYN | TCP_RST | TCP_ACK];
    assert_eq!(
        connection.sides,
        [side(5, 576, 376, flags[0]), side(4, 344, 0, flags[1])]
    );
    assert_eq!(log.labels[connection.label as usize].0, "flow=From-Normal");
    assert_eq!(echo.ends.map(|(_, port)| port), [8, 0]);
    assert_eq!(answer.ends[0].0, "198.51.100.2".parse::<IpAddr>().unwrap());
    assert_eq!(answer.sides[1], side(1, 66, 38, 0));
}

#[test]
fn payload_is_what_argus_tells_or_what_its_flags_allow() {
    let names = ARGUS.replace(",Label", ",SAppBytes,DAppBytes");
    let row = |state: &str, payload: &str| {
        format!("1.5,0.5,6,192.0.2.1,1,->,192.0.2.2,2,{state},0,0,4,400,200,2,{payload}\n")
    };
    let log = read(&format!(
        "{names}{}{}{}",
        row("SPA_SA", "90,7"),
        row("SPA_SA", "0,0"),
        row("S_RA", "0,0")
    ))
    .unwrap();
    let payloads: Vec<_> = log
        .flows
        .iter()
        .map(|flow| flow.sides.map(|side| side.payload))
        .collect();
    assert_eq!(payloads, [[90, 7], [200 - 2 * 54, 0], [0, 0]]);
}

#[test]
fn argus_without_packets_of_the_source_has_them_by_its_bytes() {
    let text = "StartTime,Dur,Proto,SrcAddr,Sport,Dir,DstAddr,Dport,State,sTos,dTos,TotPkts,TotBytes,SrcBytes,Label\n\
        2011/08/10 09:46:53.047277,3550.182373,udp,212.50.71.179,39678,  <->,147.32.84.229,13363,CON,0,0,12,875,413,flow=Background-UDP-Established\n";
    let log = read(text).unwrap();
    let packets = log.flows[0].sides.map(|side| side.packets);
    assert_eq!(packets, [5, 7]);
}

#[test]
fn what_cannot_be_read_is_said_with_its_line_and_the_mend() {
    let mut wrong = CONNECTION;
    let mut with = |at: usize, value: &'static str| {
        wrong = CONNECTION;
        wrong[at] = value;
        zeek(&wrong)
    };
    for (text, said) in [
        (String::new(), "has no flows in it"),
        (ZEEK.lines().next().unwrap().to_owned(), "has no flows in it"),
        (
            "time,src,dst\n1,2,3\n".into(),
            "begins with `time,src,dst`; give Zeek's conn.log",
        ),
        ("\u{d4}\u{c3}".into(), "is no log of flows"),
        (with(0, "yesterday"), "conn.log:5: ts is `yesterday`"),
        (with(2, "localhost"), "`localhost` is no IP address"),
        (with(3, "70000"), "id.orig_p is 70000, no port"),
        (with(8, "-1"), "duration is `-1`, no time"),
        (with(8, "nan"), "duration is `nan`"),
        (with(8, "9e99"), "duration is `9e99`"),
        (with(8, "1.+5"), "duration is `1.+5`"),
        (with(13, "3.5"), "orig_pkts is `3.5`, no count"),
        (
            with(13, "2000000000000000000"),
            "no count of packets or bytes; is the line damaged?",
        ),
        (
            with(13, "1000000001"),
            "the log has more than 1000000000 packets; split it",
        ),
        (
            "{\"ts\":\"2099-06-12T21:59:58Z\",\"id.orig_h\":\"192.0.2.1\",\"id.orig_p\":1,\"id.resp_h\":\"192.0.2.2\",\
             \"id.resp_p\":2,\"proto\":\"udp\",\"orig_pkts\":1}"
                .into(),
            "no time between 1970 and 2071",
        ),
        (
            format!("{ARGUS}2099/08/10 09:46:53.0,0,tcp,192.0.2.1,1,->,192.0.2.2,2,S_,0,0,1,60,60,1,\n"),
            "no time between 1970 and 2071",
        ),
        (
            format!("{ZEEK}1655071198.4\tC\n"),
            "no value for `id.orig_h`: the line is cut short",
        ),
        (ZEEK.replace("orig_pkts", "packets"), "has no column `orig_pkts`"),
        (ZEEK.replace("\\x09", "tab"), "the separator `tab` is none"),
        (
            "{\"ts\":1.0}".into(),
            "it has no `id.orig_h`: is it a line of conn.log?",
        ),
        ("{\"ts\":".into(), "no object of JSON"),
        (
            ARGUS.replace(",SrcBytes", ""),
            "has no column `SrcBytes`; have it written: ra -u -n -Z b",
        ),
        (
            format!("{ARGUS}1312969613.0,0,tcp,192.0.2.1,1,->,192.0.2.2,2,FIN,0,0,1,60,60,1,\n"),
            "tells of no TCP flags",
        ),
        (
            format!("{ARGUS}10.8.2011,0,tcp,192.0.2.1,1,->,192.0.2.2,2,S_,0,0,1,60,60,1,\n"),
            "StartTime is `10.8.2011`",
        ),
        (
            format!("{ARGUS}2011/08/10 09:46:53.0,0,tcp,192.0.2.1,ssh,->,192.0.2.2,2,S_,0,0,1,60,60,1,\n"),
            "`ssh` is no port",
        ),
        (format!("{ARGUS}{}\n", "x".repeat(2 << 20)), "longer than a mebibyte"),
    ] {
        let error = read(&text).expect_err(&text[..text.len().min(80)]);
        assert!(error.contains(said), "{error:?} instead of {said:?}");
    }
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut packed, zeek(&CONNECTION).as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (whole, cut) = (dir.path().join("whole.gz"), dir.path().join("cut.gz"));
    std::fs::write(&whole, &packed).unwrap();
    std::fs::write(&cut, &packed[..packed.len() - 12]).unwrap();
    let read = |path: &Path| FlowLog::read(path, &Meter::default());
    assert_eq!(read(&whole).unwrap().flows.len(), 1);
    let error = read(&cut).unwrap_err().to_string();
    assert!(error.contains("cut.gz breaks off at line"), "{error}");
    let error = FlowLog::of(Path::new("conn.log"), &b"#fields\tts\xff\n"[..], 9).unwrap_err();
    assert!(error.to_string().contains("no UTF-8"), "{error}");
}

#[test]
fn a_log_that_is_too_long_and_one_with_too_many_labels_are_refused() {
    let two = format!("{}{}\n", zeek(&CONNECTION), CONNECTION.join("\t"));
    assert_eq!(read_most(&two, 2).unwrap().flows.len(), 2);
    let error = read_most(&two, 1).unwrap_err();
    assert!(error.contains("more than 1 flows; split it"), "{error}");

    let mut labels = ZEEK.to_owned();
    for number in 0..=LABELS {
        let mut line = CONNECTION.map(str::to_owned);
        line[17] = format!("label {number}");
        labels.push_str(&line.join("\t"));
        labels.push('\n');
    }
    let error = read_most(&labels, 10_000).unwrap_err();
    assert!(error.contains("more than 1000 different labels"), "{error}");
}

proptest::proptest! {
    #[test]
    fn whatever_stands_in_a_log_is_read_or_refused(
        kind in 0..3usize, at in 0..900usize, bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..40)
    ) {
        let json = r#"{"ts":1.5,"id.orig_h":"192.0.2.1","id.orig_p":1,"id.resp_h":"192.0.2.2","id.resp_p":2,"proto":"icmp","orig_pkts":3}"#;
        let argus = format!("{ARGUS}1.5,0.5,icmp,192.0.2.1,0x0008,<->,192.0.2.2,,ECO,0,0,2,196,98,1,x\n");
        let mut log = [zeek(&CONNECTION), json.to_owned(), argus][kind].clone().into_bytes();
        let at = at.min(log.len());
        let end = (at + bytes.len()).min(log.len());
        log.splice(at..end, bytes);
        let _ = FlowLog::of(Path::new("log"), &log[..], 10);
    }
}
