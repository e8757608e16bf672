//! A whole model from a table.

use super::curves::isotonic;
use super::error::TrainError;
use super::evaluate::Evaluation;
use super::grow::{Ground, Grown, Size, Stratum, bag, grow};
use super::held::Parts;
use super::kinds::{self, discounts};
use super::labels::{FAMILIES, family_of};
use super::rng::Rng;
use super::settings::Settings;
use super::svm::{self, Machine};
use super::table::{self, IDENTITY, Table};
use super::tree::Shape;
use super::units::Units;
use crate::features::{FEATURES, Feature, Group, WIDTH};
use crate::files::{FileError, Meter};
use crate::model::calibration::Isotonic;
use crate::model::conformal::{Threshold, threshold};
use crate::model::record::{Description, FamilyRecord, Origin, Record, Reference, Schema, VariantRecord};
use crate::model::{Forest, Scaled, SvmRecord, Variant, scale};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

/// Fewer rows of either class say nothing.
const FEWEST: usize = 50;

/// A model and what it is worth on rows that no part of it had seen.
pub struct Trained {
    /// For [`crate::model::Model::new`].
    pub record: Record,
    /// With both directions, and with ingress only.
    pub figures: [Evaluation; 2],
}

/// Where an origin is published and under which licence, by its name in the tables.
pub type Licences = BTreeMap<String, (String, String)>;

/// Reads them from a table with the columns `origin`, `repo` and `licence`, of which the first row of each origin counts.
///
/// # Errors
/// [`TrainError::File`], or [`TrainError::Setting`] where a column is missing.
pub fn licences(path: &Path) -> Result<Licences, TrainError> {
    let text = std::fs::read_to_string(path).map_err(|error| FileError {
        path: path.into(),
        error,
    })?;
    let mut lines = text.lines().filter_map(table::split);
    let head = lines.next().unwrap_or_default();
    let at = |name: &str| {
        head.iter().position(|column| column == name).ok_or_else(|| {
            TrainError::Setting(format!(
                "{}:1: there is no column `{name}`; origin, repo and licence are read",
                path.display()
            ))
        })
    };
    let columns = [at("origin")?, at("repo")?, at("licence")?];
    let mut out = Licences::new();
    for fields in lines {
        let field = |column: usize| fields.get(column).cloned().unwrap_or_default();
        let [origin, source, licence] = columns.map(field);
        out.entry(origin).or_insert((source, licence));
    }
    Ok(out)
}

/// Trains both variants.
///
/// # Errors
/// Tables with one class or too few rows, settings out of range, or what the library refuses.
pub fn train(table: &Table, settings: &Settings, seed: u64, licences: &Licences) -> Result<Trained, TrainError> {
    train_metered(table, settings, seed, licences, &Meter::default())
}

/// Trees that [`train_metered`] tells of, all in all.
pub fn trees(table: &Table, settings: &Settings) -> u64 {
    let families = settings.family_trees * told_apart(table, &|_| true).len();
    (Variant::ALL.len() * (settings.trees + families)) as u64 + kinds::trees(table, settings)
}

/// As [`train`], and tells of every tree that is grown.
///
/// # Errors
/// As [`train`].
pub fn train_metered(
    table: &Table,
    settings: &Settings,
    seed: u64,
    licences: &Licences,
    meter: &Meter,
) -> Result<Trained, TrainError> {
    settings.check()?;
    no_identity()?;
    enough(table)?;
    let x: Vec<Scaled> = table.vectors.par_iter().map(scale).collect();
    let units = Units::of(table);
    let both = variant(table, &x, &units, settings, (seed, meter), Variant::Both)?;
    let ingress = variant(table, &x, &units, settings, (seed, meter), Variant::Ingress)?;
    let mut metrics = Vec::new();
    for (variant, figures) in Variant::ALL.iter().zip([&both.1, &ingress.1]) {
        metrics.extend(told(*variant, figures));
    }
    let record = Record {
        schema: Schema::ours(),
        description: Description {
            training: table.digest(),
            rows: table.rows.len() as u64,
            seed,
            origins: origins(table, licences),
            parameters: settings.told(),
            metrics,
            site: None,
        },
        both: both.0,
        ingress: ingress.0,
    };
    Ok(Trained {
        record,
        figures: [both.1, ingress.1],
    })
}

fn no_identity() -> Result<(), TrainError> {
    match FEATURES.iter().find(|feature| IDENTITY.contains(&feature.name)) {
        Some(feature) => Err(TrainError::Identity(feature.name)),
        None => Ok(()),
    }
}

fn enough(table: &Table) -> Result<(), TrainError> {
    let attacks = table.rows.iter().filter(|row| row.attack).count();
    let rows = table.rows.len();
    for (have, what, other) in [
        (attacks, "attacks", "benign"),
        (rows - attacks, "benign flows", "attacks"),
    ] {
        if have == 0 {
            return Err(TrainError::OneClass { rows, what: other });
        }
        if have < FEWEST {
            return Err(TrainError::TooFew {
                what: what.into(),
                have,
                need: FEWEST,
            });
        }
    }
    Ok(())
}

fn origins(table: &Table, licences: &Licences) -> Vec<Origin> {
    let mut counts: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    for row in 0..table.rows.len() {
        *counts
            .entry(table.origin(row))
            .or_default()
            .entry(table.label(row))
            .or_default() += 1;
    }
    let origin = |(name, rows): (&str, BTreeMap<&str, u64>)| {
        let (source, licence) = licences.get(name).cloned().unwrap_or_default();
        Origin {
            name: name.to_owned(),
            source,
            licence,
            rows: rows
                .into_iter()
                .map(|(label, count)| (label.to_owned(), count))
                .collect(),
        }
    };
    counts.into_iter().map(origin).collect()
}

fn told(variant: Variant, figures: &Evaluation) -> Vec<(String, f64)> {
    let mut out = Vec::new();
    let mut tell = |name: String, value: f64| out.push((format!("{} {name}", variant.as_str()), value));
    tell("ROC AUC".into(), figures.roc_auc);
    tell("PR AUC".into(), figures.pr_auc);
    tell("calibration error".into(), figures.calibration_error);
    for point in &figures.points {
        tell(format!("recall at {}", point.name), point.recall);
        tell(format!("macro recall at {}", point.name), point.macro_recall);
        tell(format!("FPR at {}", point.name), point.fpr);
    }
    out
}

/// Counts of what a source reached.
fn speaks_for_attacks(feature: &Feature) -> bool {
    matches!(feature.group, Group::Source10 | Group::Source | Group::Pair)
        && matches!(feature.unit, "ports" | "hosts" | "flows")
}

/// Rows by origin and label, in that order: what is drawn from alike.
fn strata(table: &Table, power: f64, keep: impl Fn(usize) -> bool) -> Vec<Stratum> {
    let mut rows: BTreeMap<(&str, &str), Vec<u32>> = BTreeMap::new();
    for row in (0..table.rows.len()).filter(|&row| keep(row)) {
        rows.entry((table.origin(row), table.label(row)))
            .or_default()
            .push(row as u32);
    }
    let stratum = |rows: Vec<u32>| Stratum {
        weight: (rows.len() as f64).powf(power),
        rows,
    };
    rows.into_values().map(stratum).collect()
}

fn variant(
    table: &Table,
    x: &[Scaled],
    units: &Units,
    settings: &Settings,
    (seed, meter): (u64, &Meter),
    variant: Variant,
) -> Result<(VariantRecord, Evaluation), TrainError> {
    let name = |part: &str| format!("{}/{part}", variant.as_str());
    let allowed = variant.allowed();
    let ground = |part: &str| Ground {
        x,
        units,
        allowed,
        seed,
        meter,
        name: name(part),
    };
    let shape = Shape {
        max_depth: settings.max_depth,
        min_leaf: settings.min_leaf,
        rising: std::array::from_fn(|at| settings.monotone && speaks_for_attacks(&FEATURES[at])),
    };
    let size = Size {
        trees: settings.trees,
        rows: settings.rows_per_tree,
        feature_share: settings.feature_share,
        node_features: settings.node_features,
        in_bag: settings.in_bag,
        shape,
    };
    let labels: Vec<bool> = table.rows.iter().map(|row| row.attack).collect();
    let attacks = strata(table, settings.stratum_power, |row| labels[row]);
    let benign = strata(table, settings.stratum_power, |row| !labels[row]);
    let ground_of_forest = ground("forest");
    let grown = grow(&ground_of_forest, size, &labels, &attacks, &benign)?;
    let forest = Forest::build(&grown.record, &allowed)?;
    let out_of_bag = grown.out_of_bag(&ground_of_forest, &forest);

    let mut rng = Rng::new(seed, &name("svm"), 0);
    let seen = bag(&mut rng, units, settings.in_bag);
    let machine = fit_svm(
        table,
        x,
        units,
        &seen,
        settings,
        &mut rng,
        &labels,
        [&attacks, &benign],
        &allowed,
    )?;
    let families = grow_families(table, settings, &size, &ground, "", &|_| true)?;

    // Rows that neither the machine nor some trees saw.
    let unseen = |row: &usize| out_of_bag[*row].is_some() && !seen[units.of[*row] as usize];
    let mut held: Vec<usize> = (0..table.rows.len()).filter(unseen).collect();
    if !both_classes(&held, &labels) {
        // Too few units to hold any out for the machine: the forest's own are the honest part.
        held = (0..table.rows.len()).filter(|&row| out_of_bag[row].is_some()).collect();
    }
    if !both_classes(&held, &labels) {
        return Err(TrainError::TooFew {
            what: "attacks or benign flows to hold out, by group and time,".into(),
            have: 0,
            need: 1,
        });
    }
    let forest_scores: Vec<f64> = held.iter().map(|&row| out_of_bag[row].unwrap_or_default()).collect();
    let parts = Parts {
        table,
        x,
        allowed: &allowed,
        held: &held,
        labels: &labels,
        forest: forest_scores,
    };
    let (svm_record, weight, gate, scores) = parts.combine(machine, settings.svm_weight)?;
    let scored: Vec<(f64, bool)> = scores.iter().zip(&held).map(|(&s, &row)| (s, labels[row])).collect();
    let calibration = curve(&scored)?;
    let forest_calibration = curve(&parts.pairs(&parts.forest))?;
    let benign_scores: Vec<f64> = scored.iter().filter(|row| !row.1).map(|row| row.0).collect();
    let named = parts.name_families(&families, &ground)?;
    let discounts = discounts(table, x, &size, settings, &families, &ground)?;
    let discount = |name: &str| {
        let kind = families.iter().position(|(family, _)| family == name);
        discounts[kind.unwrap_or(families.len())]
    };
    let discount = (!discounts.is_empty()).then_some(discount);
    let holds = parts.held(&scores, gate, &named, discount);
    let benign_holds: Vec<f64> = parts
        .pairs(&holds)
        .into_iter()
        .filter(|row| !row.1)
        .map(|row| row.0)
        .collect();
    let [suspicious, flag] = settings.alphas;
    let levels_by = |benign: &[f64]| Ok::<_, TrainError>([threshold(benign, suspicious)?, threshold(benign, flag)?]);
    let levels = levels_by(&benign_holds)?;
    // These rows are of networks that are known, as a site is once it has set its levels: without discounts.
    let judged = parts.judged(&scores, &calibration, &named);
    let figures = Evaluation::of(&judged, levels_by(&benign_scores)?.map(|level: Threshold| level.score))?;
    let benign = (0..table.rows.len()).filter(|&row| !labels[row]);
    let reference =
        Reference::of(&benign.map(|row| &table.vectors[row]), benign_scores).ok_or_else(TrainError::no_benign)?;
    let record = VariantRecord {
        forest: grown.record,
        forest_calibration,
        svm: svm_record,
        svm_weight: weight,
        gate,
        calibration,
        levels,
        families: families
            .into_iter()
            .map(|(name, grown)| FamilyRecord {
                name,
                forest: grown.record,
            })
            .collect(),
        reference,
        discounts,
    };
    Ok((record, figures))
}

fn both_classes(rows: &[usize], labels: &[bool]) -> bool {
    rows.iter().any(|&row| labels[row]) && rows.iter().any(|&row| !labels[row])
}

fn curve(scored: &[(f64, bool)]) -> Result<Isotonic, TrainError> {
    isotonic(scored).ok_or(TrainError::TooFew {
        what: "held-out flows".into(),
        have: 0,
        need: 1,
    })
}

#[expect(clippy::too_many_arguments, reason = "what a fit needs, handed on once")]
fn fit_svm(
    table: &Table,
    x: &[Scaled],
    units: &Units,
    seen: &[bool],
    settings: &Settings,
    rng: &mut Rng,
    labels: &[bool],
    sides: [&[Stratum]; 2],
    allowed: &[bool; WIDTH],
) -> Result<SvmRecord, TrainError> {
    let visible = |row: u32| seen[units.of[row as usize] as usize];
    let mut rows = Vec::new();
    for side in sides {
        rows.extend(svm::sample(rng, side, visible, settings.svm_rows / 2));
    }
    let names: Vec<&str> = (0..table.rows.len()).map(|row| family_of(table.label(row))).collect();
    let machine = Machine {
        gamma: settings.svm_gamma,
        cost: settings.svm_cost,
    };
    svm::fit(x, labels, &rows, &names, allowed, machine)
}

/// Families with rows enough, among those that count, for a forest of their own, and others to be told from.
pub(super) fn told_apart(table: &Table, keep: &(dyn Fn(usize) -> bool + Sync)) -> Vec<&'static str> {
    let count = |of: &dyn Fn(usize) -> bool| (0..table.rows.len()).filter(|&row| keep(row) && of(row)).count();
    let enough = |family: &str| {
        let of_family = |row: usize| family_of(table.label(row)) == family;
        count(&of_family) >= FEWEST && count(&|row| table.rows[row].attack && !of_family(row)) > 0
    };
    FAMILIES.iter().copied().filter(|family| enough(family)).collect()
}

/// One forest a family against all others, of the rows that count. Benign flows are among the others: flows flagged by mistake
/// should be like none.
pub(super) fn grow_families<'a>(
    table: &Table,
    settings: &Settings,
    size: &Size,
    ground: &impl Fn(&str) -> Ground<'a>,
    part: &str,
    keep: &(dyn Fn(usize) -> bool + Sync),
) -> Result<Vec<(String, Grown)>, TrainError> {
    let size = Size {
        trees: settings.family_trees,
        rows: settings.rows_per_tree.min(4000),
        ..*size
    };
    let drawn = |of: &dyn Fn(usize) -> bool| strata(table, settings.stratum_power, |row| keep(row) && of(row));
    let benign = drawn(&|row| !table.rows[row].attack);
    let mut out = Vec::new();
    for family in told_apart(table, keep) {
        let of_family = |row: usize| family_of(table.label(row)) == family;
        let positive = drawn(&of_family);
        let mut negative = drawn(&|row| table.rows[row].attack && !of_family(row));
        let weight = |strata: &[Stratum]| strata.iter().map(|stratum| stratum.weight).sum::<f64>();
        let scale = 0.25 * weight(&negative) / weight(&benign);
        negative.extend(benign.iter().map(|s| Stratum {
            rows: s.rows.clone(),
            weight: s.weight * scale,
        }));
        let labels: Vec<bool> = (0..table.rows.len()).map(of_family).collect();
        out.push((
            family.to_owned(),
            grow(&ground(&format!("{part}{family}")), size, &labels, &positive, &negative)?,
        ));
    }
    Ok(out)
}
