//! Training as a whole: reproducible, honest, and refusing what makes no sense.

use super::calibrate::calibrate;
use super::evaluate::{Evaluation, judge};
use super::fit::Licences;
use super::testing::table;
use super::*;
use crate::model::{Method, Model, Variant};
use std::sync::OnceLock;

fn quick() -> Settings {
    Settings {
        trees: 12,
        rows_per_tree: 300,
        family_trees: 4,
        svm_rows: 120,
        max_depth: 8,
        ..Settings::default()
    }
}

fn made(seed: u64) -> Model {
    Model::new(
        train(&table(1600, 1, false), &quick(), seed, &Licences::new())
            .unwrap()
            .record,
    )
    .unwrap()
}

/// Trained once for all tests that only look at it.
fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| made(1))
}

#[test]
fn the_same_seed_gives_the_same_bytes_on_any_number_of_cores() {
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let three = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    let first = model().encode().unwrap();
    assert!(
        first == one.install(|| made(1)).encode().unwrap(),
        "one thread gives other bytes"
    );
    assert!(
        first == three.install(|| made(1)).encode().unwrap(),
        "three threads give other bytes"
    );
    assert!(first != made(2).encode().unwrap(), "the seed does nothing");
}

#[test]
fn new_flows_are_judged_and_named() {
    let fresh = table(800, 2, false);
    for variant in Variant::ALL {
        let scorer = model().scorer(variant);
        let figures = Evaluation::of(&judge(scorer, &fresh), scorer.levels().map(|level| level.score)).unwrap();
        assert!(figures.roc_auc > 0.99, "{}: {}", variant.as_str(), figures.roc_auc);
        assert!(figures.calibration_error < 0.06, "{}", figures.calibration_error);
        let scan = figures.families.iter().find(|f| f.family == "scan").unwrap();
        assert!(scan.f1 > 0.9, "{scan:?}");
    }
}

/// Labels that follow the group and nothing else: whoever lets a group into the bag and out of it scores well here.
#[test]
fn nothing_leaks_from_group_to_group() {
    let shuffled = table(1600, 3, true);
    let trained = train(&shuffled, &quick(), 1, &Licences::new()).unwrap();
    let auc = trained.figures[0].roc_auc;
    assert!(
        (0.3..0.7).contains(&auc),
        "held-out rows of shuffled groups score {auc}"
    );
}

#[test]
fn explanations_of_a_trained_model_sum_to_its_scores() {
    let fresh = table(60, 4, false);
    for variant in Variant::ALL {
        let scorer = model().scorer(variant);
        for vector in &fresh.vectors {
            for method in [Method::Path, Method::TreeShap] {
                let told = scorer.explain(vector, method);
                assert!((told.sum() - scorer.verdict(vector).score).abs() < 1e-9);
            }
        }
    }
}

#[test]
fn a_site_sets_its_levels_and_has_its_say_in_the_leaves() {
    let site = table(6000, 5, false);
    let done = calibrate(model(), &site, [0.01, 0.001], 1.0).unwrap();
    assert_eq!(done.benign + done.left_out, 6000);
    assert!(done.left_out > 2000);
    let [suspicious, flag] = done.record.both.levels;
    assert!(suspicious.score.is_some());
    assert_eq!((flag.score, flag.missing), (None, 10_000 - done.benign as u64));
    assert_ne!(done.record.both.forest, model().record().both.forest);
    // Whose flows are like what is known from here on.
    assert_eq!(
        model().record().both.discounts.len(),
        model().record().both.families.len() + 1
    );
    assert!(done.record.both.discounts.is_empty() && done.record.ingress.discounts.is_empty());
    let calibrated = Model::new(done.record).unwrap();
    let scorer = calibrated.scorer(Variant::Both);
    let fresh = table(3000, 6, false);
    let figures = Evaluation::of(&judge(scorer, &fresh), scorer.levels().map(|level| level.score)).unwrap();
    let point = figures.point("suspicious").unwrap();
    assert!(
        point.fpr_low <= 0.01 && point.fpr < 0.02 && point.recall > 0.95,
        "{point:?}"
    );
    // Without a say the forest stays; an order of levels that makes none is refused.
    let still = calibrate(model(), &site, [0.01, 0.001], 0.0).unwrap();
    assert_eq!(still.record.both.forest, model().record().both.forest);
    assert!(calibrate(model(), &site, [0.001, 0.01], 1.0).is_err());
    let attacks = site.filtered(|row| site.rows[row].attack);
    let error = calibrate(model(), &attacks, [0.01, 0.001], 1.0)
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("0 rows of benign flows are too few"), "{error}");
}

#[test]
fn tables_and_settings_that_make_no_model_are_refused() {
    let all = table(400, 1, false);
    let refused = |table: &Table, settings: &Settings| match train(table, settings, 1, &Licences::new()) {
        Ok(_) => panic!("was taken"),
        Err(error) => error.to_string(),
    };
    let benign = all.filtered(|row| !all.rows[row].attack);
    assert!(refused(&benign, &quick()).contains("rows are benign; training and evaluation need both"));
    let attacks = all.filtered(|row| all.rows[row].attack);
    assert!(refused(&attacks, &quick()).contains("rows are attacks;"));
    let few = all.filtered(|row| row < 30);
    assert!(refused(&few, &quick()).contains("are too few (at least 50)"));
    let mut settings = quick();
    for wrong in [
        "trees=0",
        "rows_per_tree=100000",
        "svm_rows=20000",
        "in_bag=1",
        "trees",
        "trees=NaN",
        "leaves=3",
    ] {
        let before = settings;
        assert!(settings.set(wrong).is_err(), "{wrong} was taken");
        settings = before;
    }
    settings.set("trees=50").unwrap();
    assert_eq!(settings.trees, 50);
}

#[test]
fn the_card_names_origins_licences_and_failures() {
    let table = table(1600, 1, false);
    let licences = Licences::from([("one".to_owned(), ("example.org | x".to_owned(), "MIT".to_owned()))]);
    let trained = train(&table, &quick(), 1, &licences).unwrap();
    let model = Model::new(trained.record).unwrap();
    let crossed = cross::cross_validate(&table, &quick(), 1, &crate::files::Meter::default()).unwrap();
    let text = card::card(&model, 1234, &trained.figures, Some(&crossed));
    for expected in [
        "| one | ",
        "| example.org \\| x | MIT |",
        "not told",
        "## Where it fails",
        "## Networks it has not seen",
        "promise nothing until",
        &crate::types::hex(model.sha256()),
    ] {
        assert!(text.contains(expected), "{expected} is missing in\n{text}");
    }
    for (name, svg) in plot::plots(&trained.figures[0]) {
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"), "{name}");
        assert!(!svg.contains("NaN"), "{name}");
    }
}

/// With trees of `linfa-trees`, which look at all of a tree's features in every node: as reproducible, and a forest too.
#[test]
fn trees_of_linfa_make_a_model_too() {
    let mut settings = quick();
    (settings.node_features, settings.feature_share) = (0, 0.5);
    let made = || {
        let record = train(&table(800, 1, false), &settings, 1, &Licences::new())
            .unwrap()
            .record;
        Model::new(record).unwrap()
    };
    let model = made();
    assert!(
        model.encode().unwrap() == made().encode().unwrap(),
        "the same seed gives other bytes"
    );
    let fresh = table(400, 2, false);
    let figures = Evaluation::of(&judge(model.scorer(Variant::Both), &fresh), [None, None]).unwrap();
    assert!(figures.roc_auc > 0.98, "{}", figures.roc_auc);
}

/// Trees as `linfa-trees` fits them differ from run to run where classes are tied; ours do not.
#[test]
fn ties_do_not_change_a_tree() {
    let x: Vec<crate::model::Scaled> = (0..64u8)
        .map(|row| std::array::from_fn(|at| f32::from((row >> (at % 3)) & 1)))
        .collect();
    // Every pattern has as many of one class as of the other, but for one.
    let labels: Vec<bool> = (0..64).map(|row| (row / 8) % 2 == 0 || row == 13).collect();
    let picks: Vec<u32> = (0..64).collect();
    let features: Vec<u16> = (0..6).collect();
    let shape = tree::Shape {
        max_depth: 6,
        min_leaf: 1.0,
        rising: [false; crate::features::WIDTH],
    };
    let first = tree::grow(&x, &labels, &picks, &features, shape).unwrap();
    for _ in 0..20 {
        assert_eq!(tree::grow(&x, &labels, &picks, &features, shape).unwrap(), first);
    }
    assert!(first.len() > 1, "one row tells one pattern from the others");
}

/// The model that ships is one for this program, and its card is its own.
#[test]
fn the_model_that_ships_loads_and_has_its_card() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (model, bytes) = file::read_model(&root.join("config/models/default.model")).unwrap();
    assert!(bytes <= 5_000_000, "{bytes} bytes");
    let text = std::fs::read_to_string(root.join("docs/model-card.md")).unwrap();
    assert!(
        text.contains(&crate::types::hex(model.sha256())),
        "the card is of another model"
    );
    for variant in Variant::ALL {
        let scorer = model.scorer(variant);
        assert!(scorer.levels().iter().all(|level| level.score.is_some()));
        assert!(scorer.families().count() >= 5);
        let quiet = scorer.verdict(&crate::features::Vector([0.0; crate::features::WIDTH]));
        assert!(quiet.score.is_finite());
    }
}
