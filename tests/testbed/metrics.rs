//! Reading the agent's metrics.

/// One scrape.
#[derive(Clone, Debug)]
pub struct Metrics(String);

impl Metrics {
    /// From the text of `GET /metrics`.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Sum of the samples of `name` that carry every one of `labels` (`action="drop"`); zero when there are none.
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let samples = self.0.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (family, has) = series.split_once('{').unwrap_or((series, ""));
            (family == name && labels.iter().all(|label| has.contains(label))).then_some(value)
        });
        samples.filter_map(|value| value.parse::<f64>().ok()).sum()
    }

    /// Whether any sample of `name` is there.
    pub fn has(&self, name: &str) -> bool {
        self.0
            .lines()
            .any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_by_label() {
        let text = "# TYPE a counter\na_total{x=\"1\",y=\"2\"} 3\na_total{x=\"2\",y=\"2\"} 4\nb 5\n";
        let metrics = Metrics::new(text.into());
        assert_eq!(metrics.sum("a_total", &["y=\"2\""]) as u64, 7);
        assert_eq!(metrics.sum("a_total", &["x=\"1\""]) as u64, 3);
        assert_eq!(metrics.sum("b", &[]) as u64, 5);
        assert!(metrics.has("b") && !metrics.has("a"));
    }
}
