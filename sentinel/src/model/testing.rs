//! A small model made by hand.

use super::calibration::Isotonic;
use super::conformal::Threshold;
use super::forest::{ForestRecord, NodeRecord::*};
use super::record::{Description, FamilyRecord, Origin, Record, Reference, Schema, VariantRecord};
use super::reference::Quantiles;
use super::svm::tests::small as small_svm;
use crate::features::schema::index_of;
use crate::features::{Vector, WIDTH};

/// Splits at scaled values: attacks send many packets (`f_n`) to many ports (`ws_ports`).
fn forest() -> ForestRecord {
    let (n, ports) = (index_of("f_n").unwrap() as u16, index_of("ws_ports").unwrap() as u16);
    let split = |feature, threshold| Split { feature, threshold };
    let leaf = |positive, negative| Leaf { positive, negative };
    ForestRecord {
        trees: vec![
            vec![split(ports, 2.5), split(n, 4.0), leaf(90, 2), leaf(0, 90), leaf(8, 8)],
            vec![split(n, 3.0), leaf(4, 80), split(ports, 1.5), leaf(10, 10), leaf(85, 3)],
        ],
    }
}

fn curve() -> Isotonic {
    Isotonic {
        points: vec![(0.1, 0.01), (0.5, 0.4), (0.9, 0.99)],
    }
}

fn level(alpha: f64, score: f64) -> Threshold {
    Threshold {
        alpha,
        score: Some(score),
        benign: 10_000,
        missing: 0,
    }
}

fn variant() -> VariantRecord {
    let ramp = |to: u32| Quantiles::of((0..=to).map(f64::from)).unwrap();
    VariantRecord {
        forest: forest(),
        forest_calibration: curve(),
        svm: small_svm(),
        svm_weight: 0.2,
        gate: 0.1,
        calibration: curve(),
        levels: [level(0.01, 0.5), level(0.001, 0.7)],
        families: vec![FamilyRecord {
            name: "scan".into(),
            forest: forest(),
        }],
        reference: Reference {
            features: (0..WIDTH).map(|_| ramp(20)).collect(),
            score: Quantiles::of((0..1000).map(|i| f64::from(i) / 2000.0)).unwrap(),
        },
        discounts: Vec::new(),
    }
}

pub(crate) fn record() -> Record {
    Record {
        schema: Schema::ours(),
        description: Description {
            training: [7; 32],
            rows: 600,
            seed: 1,
            origins: vec![Origin {
                name: "lab".into(),
                source: String::new(),
                licence: "our own".into(),
                rows: vec![("benign".into(), 300), ("scan".into(), 300)],
            }],
            parameters: vec![("trees".into(), "2".into())],
            metrics: vec![("accuracy".into(), 0.99)],
            site: None,
        },
        both: variant(),
        ingress: variant(),
    }
}

/// A vector of zeros but for packets and ports.
pub(crate) fn vector(packets: f64, ports: f64) -> Vector {
    let mut values = [0.0; WIDTH];
    values[index_of("f_n").unwrap()] = packets;
    values[index_of("ws_ports").unwrap()] = ports;
    Vector(values)
}
