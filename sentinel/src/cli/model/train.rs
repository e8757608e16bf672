//! `sentinel model train`.

use super::gather::{gather, pairs, tell};
use crate::cli::Global;
use crate::cli::exit::Failure;
use crate::cli::output::{Format, Output, escape_line};
use crate::cli::progress::Progress;
use crate::model::{Model, Variant};
use crate::train::fit::Licences;
use crate::train::{Settings, Table, card, cross, file, fit};
use serde_json::json;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Tables of labelled flows (CSV, gzip or not), the traffic log among them; repeatable. Rows without a label are left out
    #[arg(long, required_unless_present = "pcap", num_args = 1.., value_name = "FILE")]
    features: Vec<PathBuf>,
    /// A capture whose attacks are known, with its --truth; repeatable. Its origin is the file's name without its ending
    #[arg(long, value_name = "FILE", requires = "truth")]
    pcap: Vec<PathBuf>,
    /// The attacks of the --pcap before it, a line of JSON each: family, ip, t0 and t1 in unix seconds. Empty where all is
    /// benign; beside it cli.ips (benign hosts) and atk.ips (attackers) count too, where they are
    #[arg(long, value_name = "FILE", requires = "pcap")]
    truth: Vec<PathBuf>,
    /// Everything random follows from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The model
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Its card [default: beside the model, ending in .md]
    #[arg(long, value_name = "FILE")]
    card: Option<PathBuf>,
    /// Where origins are published and under which licence: CSV with the columns origin, repo and licence
    #[arg(long, value_name = "FILE")]
    licences: Option<PathBuf>,
    /// Licence of an origin that the table of licences does not hold; repeatable
    #[arg(long, value_name = "ORIGIN=TEXT")]
    licence: Vec<String>,
    /// Train without the rows of this origin; repeatable
    #[arg(long, value_name = "ORIGIN")]
    leave_out: Vec<String>,
    /// Judge each origin by a model that never saw it, too; takes as many trainings as there are origins
    #[arg(long)]
    cross_validate: bool,
    /// A setting of the training, such as `trees=50`; repeatable
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
}

pub(super) fn run(global: &Global, args: &Args) -> Result<(), Failure> {
    let output: &Output = &global.output();
    let mut settings = Settings::default();
    for assignment in &args.set {
        settings
            .set(assignment)
            .map_err(|error| Failure::Usage(error.to_string()))?;
    }
    let mut licences = match &args.licences {
        Some(path) => fit::licences(path)?,
        None => Licences::new(),
    };
    for given in &args.licence {
        let (origin, text) = given
            .split_once('=')
            .ok_or_else(|| Failure::Usage(format!("--licence {given}: is not ORIGIN=TEXT")))?;
        licences.insert(origin.to_owned(), (String::new(), text.to_owned()));
    }
    let table = gather(global, &args.features, &pairs(&args.pcap, &args.truth)?, false)?;
    let table = left_out(&table, &args.leave_out)?;
    let growing = Progress::pieces("Growing", "trees", Some(fit::trees(&table, &settings)));
    let trained = fit::train_metered(&table, &settings, args.seed, &licences, &growing.meter())?;
    drop(growing);
    let model = Model::new(trained.record)?;
    let crossed = if args.cross_validate {
        // How many origins can be cut by time shows only as it goes.
        let growing = Progress::pieces("Each origin by models without it", "trees", None);
        Some(cross::cross_validate(&table, &settings, args.seed, &growing.meter())?)
    } else {
        None
    };
    let bytes = model.encode()?;
    let card_path = args.card.clone().unwrap_or_else(|| args.out.with_extension("md"));
    let text = card::card(&model, bytes.len(), &trained.figures, crossed.as_ref());
    file::write(&args.out, &bytes)?;
    file::write(&card_path, text.as_bytes())?;
    if output.format() == Format::Json {
        output.json(&json!({
            "model": args.out, "card": card_path, "sha256": crate::types::hex(model.sha256()), "bytes": bytes.len(),
            "rows": table.rows.len(), "rows_left_out": table.left_out, "both": trained.figures[0], "ingress": trained.figures[1],
            "unseen": crossed,
        }));
        return Ok(());
    }
    let (trees, vectors) = model.scorer(Variant::Both).size();
    output.line(&output.strong(&format!(
        "{}: {:.2} MB, {trees} trees, {vectors} support vectors, from {} rows of {} origins",
        args.out.display(),
        bytes.len() as f64 / 1e6,
        table.rows.len(),
        model.record().description.origins.len()
    )));
    tell(output, &table.left_out);
    for (variant, figures) in Variant::ALL.iter().zip(&trained.figures) {
        output.line(&format!("\nHeld-out rows, {}:", variant.as_str()));
        super::evaluate::show_points(output, figures);
    }
    if let Some(crossed) = &crossed {
        output.line("\nEach origin by a model without it:");
        super::evaluate::show_points(output, &crossed.figures);
        for later in &crossed.later {
            output.line(&format!(
                "\n{}, its later part after learn mode:",
                escape_line(&later.origin)
            ));
            super::evaluate::show_points(output, &later.learned);
            output.line("\nThe same by a model trained with its earlier part:");
            super::evaluate::show_points(output, &later.trained);
        }
    }
    output.line(&format!("The card is {}.", card_path.display()));
    Ok(())
}

fn left_out(table: &Table, names: &[String]) -> Result<Table, Failure> {
    if let Some(unknown) = names.iter().find(|name| !table.origins.contains(name)) {
        return Err(Failure::Usage(format!(
            "--leave-out {unknown}: the tables have no such origin; they have {}",
            table.origins.join(", ")
        )));
    }
    Ok(table.filtered(|row| !names.iter().any(|name| table.origin(row) == name)))
}
