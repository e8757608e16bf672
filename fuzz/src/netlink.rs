//! Answers over netlink(7): the kernel's, with what others wrote into tables of nftables in them.

use crate::Target;

/// The target.
pub const TARGET: Target = Target {
    name: "netlink",
    run,
    seeds,
};

fn run(datagram: &[u8]) {
    sentinel::kernel::fuzzing::netlink(datagram);
    sentinel::nft::fuzzing::answer(datagram);
}

/// A set's element with everything that is read of one, and the ends of an answer.
fn seeds() -> Vec<Vec<u8>> {
    let attribute = |kind: u16, data: &[u8]| {
        let len = 4 + data.len();
        let mut out = [(len as u16).to_ne_bytes(), kind.to_ne_bytes()].concat();
        out.extend_from_slice(data);
        out.resize(len.next_multiple_of(4), 0);
        out
    };
    let message = |kind: u16, body: &[u8]| {
        let mut out = (16 + body.len() as u32).to_ne_bytes().to_vec();
        out.extend(kind.to_ne_bytes());
        out.extend([0; 10]);
        out.extend_from_slice(body);
        out
    };
    let comment = "1:00000000000000000000000000000007:ffffffffffffffff:1:0:0:0:0:0:0\0";
    let user = [&[0, comment.len() as u8][..], comment.as_bytes()].concat();
    let counter = [
        attribute(1, b"counter\0"),
        attribute(2, &[attribute(1, &[0; 8]), attribute(2, &[1; 8])].concat()),
    ]
    .concat();
    let element = [
        attribute(1, &attribute(1, &[203, 0, 113, 7])),
        attribute(5, &[0, 0, 0, 0, 0, 0, 0x0e, 0x10]),
        attribute(6, &user),
        attribute(7, &counter),
        attribute(11, &attribute(1, &counter)),
    ]
    .concat();
    let body = [&[2, 0, 0, 0][..], &attribute(3, &attribute(1, &element))].concat();
    vec![
        [message(0x0a0c, &body), message(3, &[0; 4])].concat(),
        message(2, &(-2i32).to_ne_bytes()),
        message(2, &[0; 4]),
        message(16, &[0; 64]),
    ]
}
