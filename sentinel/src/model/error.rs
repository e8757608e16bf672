//! Why a model is not taken.

/// What is wrong inside a model whose bytes are whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// A forest.
    #[error("a forest {0}")]
    Forest(&'static str),
    /// The support vector machine.
    #[error("the support vector machine {0}")]
    Svm(&'static str),
    /// Calibration, levels, reference or description.
    #[error("{0}")]
    Part(&'static str),
    /// NaN or infinity.
    #[error("{0} is not a finite number")]
    NotFinite(&'static str),
}

/// Why bytes are no model for this program. Nothing of such a model is used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArtefactError {
    /// Something else altogether.
    #[error(
        "this is no model of Sentinel (it does not begin with its mark); name a file that `sentinel model train` wrote"
    )]
    NotAModel,
    /// Written by another version of the program.
    #[error(
        "the model is written in format {found}, this program reads format {known}; train it again with this program, \
         or use the model that came with it"
    )]
    Format {
        /// The model's.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The end is missing.
    #[error("the model is cut off: {have} bytes of {need}; copy or train it again")]
    Truncated {
        /// Bytes there.
        have: u64,
        /// Bytes it says it has.
        need: u64,
    },
    /// More than a model may have.
    #[error(
        "the model is larger than {limit} bytes or has bytes behind its end; name a file that `sentinel model train` wrote"
    )]
    TooLong {
        /// Largest size read.
        limit: u64,
    },
    /// Bytes changed since it was written.
    #[error(
        "the model's SHA-256 does not fit its bytes: it was damaged or altered; copy or train it again, and ask who could write to it"
    )]
    Digest,
    /// Whole, and yet not what a model is.
    #[error("the model cannot be read ({0}); train it again with this program")]
    Malformed(String),
    /// Made for other features.
    #[error(
        "the model was made for feature schema {found}, this program makes schema {ours}{}; make the feature tables \
         again and train a new model",
        if found == ours { " with other features" } else { "" }
    )]
    Schema {
        /// The model's version.
        found: u32,
        /// Ours.
        ours: u32,
    },
    /// A part that cannot be worked with.
    #[error("the model is unsound: {flaw} ({variant}); train it again")]
    Unsound {
        /// Which of the two variants, or `description`.
        variant: &'static str,
        /// What.
        flaw: Flaw,
    },
}
