//! From counters to numbers.

use super::piece::{Steps, steps};
use super::schema::{Vector, WIDTH};
use super::windows::Around;
use sentinel_common::flow::{Half, PROTO_TCP, PROTO_UDP};

/// Steps of [`Steps`] in a second.
const PER_SECOND: f64 = 100.0;

/// The vector of a flow whose two directions counted this, in the order of [`super::schema::FEATURES`].
pub(super) fn vector(proto: u8, forward: &Half, reverse: &Half, around: &Around) -> Vector {
    let n = forward.packets as f64;
    let back = reverse.packets as f64;
    let duration = span(forward) as f64 / PER_SECOND;
    let flag = |on: bool| if on { 1.0 } else { 0.0 };
    let values: [f64; WIDTH] = [
        flag(proto == PROTO_TCP),
        flag(proto == PROTO_UDP),
        n,
        forward.bytes as f64,
        duration,
        f64::from(forward.len_min),
        f64::from(forward.len_max),
        ratio(forward.bytes as f64, n),
        deviation(forward),
        ratio(duration, n - 1.0),
        ratio(forward.payload_bytes as f64, n),
        ratio(f64::from(forward.psh), n),
        ratio(f64::from(forward.ack), n),
        ratio(f64::from(forward.syn), n),
        f64::from(forward.rst),
        f64::from(forward.fin),
        ratio(f64::from(forward.zero_payload), n),
        back,
        ratio(reverse.bytes as f64, back),
        (n + 1.0) / (back + 1.0),
        flag(reverse.packets == 0),
        f64::from(around.source.packets),
        f64::from(around.source.flows),
        f64::from(around.source_ports),
        f64::from(around.source_hosts),
        ratio(f64::from(around.source.bytes), f64::from(around.source.packets)),
        f64::from(around.source.syn) / (f64::from(around.source.ack) + 1.0),
        ratio(f64::from(around.source.failed), f64::from(around.source.judged)),
        f64::from(around.destination.packets),
        f64::from(around.destination.flows),
        f64::from(around.destination_sources),
        ratio(f64::from(around.minute.failed), f64::from(around.minute.judged)),
        f64::from(around.minute_ports),
        f64::from(around.long_ports),
        f64::from(around.pair.flows_60),
        around.pair.spread_bytes,
        around.pair.packets,
        around.pair.payload,
        f64::from(around.pair.flows_300),
        around.pair.spread_gaps,
        f64::from(around.clients),
    ];
    Vector(values)
}

/// Steps from the first to the last packet.
fn span(half: &Half) -> Steps {
    if half.packets == 0 {
        return 0;
    }
    steps(half.last_ns).saturating_sub(steps(half.first_ns))
}

/// √(Σl²/n − (Σl/n)²), without taking a small difference of large numbers.
fn deviation(half: &Half) -> f64 {
    let n = u128::from(half.packets);
    let bytes = u128::from(half.bytes);
    let spread = (n * u128::from(half.squares)).saturating_sub(bytes * bytes);
    ratio((spread as f64).sqrt(), n as f64)
}

/// `a / b`; 0 where there is nothing to divide by.
pub(super) fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

/// Standard deviation over mean; 0 for fewer than two values, or a mean of zero.
pub(super) fn spread(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let n = values.clone().count() as f64;
    let mean = ratio(values.clone().sum(), n);
    let variance = ratio(values.map(|v| (v - mean).powi(2)).sum(), n);
    ratio(variance.sqrt(), mean)
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "exactness is what is asked")]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_that_of_the_whole_population() {
        assert_eq!(spread([2.0, 4.0].into_iter()), 1.0 / 3.0);
        assert_eq!(spread([5.0].into_iter()), 0.0);
        assert_eq!(spread([0.0, 0.0].into_iter()), 0.0);
        assert_eq!(spread([].into_iter()), 0.0);
    }

    #[test]
    fn the_deviation_of_equal_lengths_is_exactly_zero() {
        let mut half = Half {
            packets: 3_000_001,
            ..Half::default()
        };
        half.bytes = half.packets * 1499;
        half.squares = half.packets * 1499 * 1499;
        assert_eq!(deviation(&half), 0.0);
        half.squares = 1;
        assert_eq!(deviation(&half), 0.0, "counters that contradict each other give no NaN");
    }
}
