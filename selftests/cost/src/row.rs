// SPDX-License-Identifier: GPL-2.0-only

//! A row of the table: one figure.

use std::collections::BTreeMap;

use clap::ValueEnum;
use serde::Serialize;

use crate::measure::Sample;
use crate::Result;

/// What figures are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// Guest instructions per operation, if a nanosecond of the guest's clock is one.
    #[serde(rename = "instructions")]
    Instructions,
    /// Bytes of one thing.
    #[serde(rename = "bytes")]
    Bytes,
    /// Faults in a second of the guest's clock; more is better.
    #[serde(rename = "faults/s")]
    FaultsPerSecond,
}

/// Rows that are read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// What there is without userfaultfd, and the gauge of the clock
    Alternatives,
    /// A fault until the thread runs again, and the event of a fork
    #[serde(rename = "round trip")]
    #[value(alias = "round trip")]
    RoundTrip,
    /// Pages that nobody waits for
    Background,
    /// Other requests
    Requests,
    /// What crowds cost
    Growth,
    /// What the kernel keeps
    Memory,
    /// What several processors get done
    Throughput,
}

/// One figure.
pub struct Row {
    /// What it is called.
    pub name: String,
    /// What it is.
    pub about: String,
    /// What it is counted in.
    pub unit: Unit,
    /// Which rows it belongs to.
    pub group: Group,
    curve: Option<(&'static str, u64)>,
    needs: u64,
    only_if: fn() -> bool,
    work: Box<dyn Fn(usize) -> Result<Vec<Sample>>>,
}

impl Row {
    /// A row that `work` measures, given the number of samples to take.
    pub fn new(
        group: Group,
        name: impl Into<String>,
        about: impl Into<String>,
        work: impl Fn(usize) -> Result<Vec<Sample>> + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            about: about.into(),
            unit: Unit::Instructions,
            group,
            curve: None,
            needs: 0,
            only_if: || true,
            work: Box::new(work),
        }
    }

    /// A point of a curve of growth; the row is named after both.
    pub fn point(
        family: &'static str,
        n: u64,
        about: impl Into<String>,
        work: impl Fn(usize) -> Result<Vec<Sample>> + 'static,
    ) -> Self {
        Self {
            curve: Some((family, n)),
            ..Self::new(Group::Growth, format!("{family}-{n}"), about, work)
        }
    }

    /// The same, counted in something else.
    pub fn in_unit(self, unit: Unit) -> Self {
        Self { unit, ..self }
    }

    /// The same where there is no such figure without these features.
    pub fn needs(self, needs: u64) -> Self {
        Self { needs, ..self }
    }

    /// The same where there is no such figure unless something holds of the kernel.
    pub fn only_if(self, only_if: fn() -> bool) -> Self {
        Self { only_if, ..self }
    }

    /// Whether an option names exactly this row.
    pub fn is_called(&self, text: &str) -> bool {
        text.strip_prefix('=') == Some(&self.name)
    }

    /// Whether a kernel that offers these features cannot show it.
    pub fn is_lacking(&self, offered: u64) -> bool {
        self.needs & !offered != 0 || !(self.only_if)()
    }

    /// Measures it.
    pub fn run(&self, repeats: usize) -> Result<Vec<Sample>> {
        (self.work)(repeats)
    }

    /// The row itself, for programs.
    pub fn description(&self) -> impl Serialize + '_ {
        Description {
            row: &self.name,
            about: &self.about,
            unit: self.unit,
            family: self.curve.map(|(family, _)| family),
            n: self.curve.map(|(_, n)| n),
            group: self.group,
        }
    }

    /// A sample of it, for programs.
    pub fn line<'a>(&'a self, sample: &'a Sample) -> impl Serialize + 'a {
        Line {
            row: &self.name,
            ops: sample.ops,
            cost: round(sample.cost, 2),
            switches: round(sample.switches, 4),
            unit: Some(self.unit).filter(|unit| *unit != Unit::Instructions),
            extra: &sample.extra,
        }
    }

    /// What stands for the samples of a row that the kernel cannot show, for programs.
    pub fn lacking(&self) -> impl Serialize + '_ {
        Lacking {
            row: &self.name,
            lacking: true,
        }
    }
}

#[derive(Serialize)]
struct Description<'a> {
    row: &'a str,
    about: &'a str,
    unit: Unit,
    family: Option<&'a str>,
    n: Option<u64>,
    group: Group,
}

#[derive(Serialize)]
struct Line<'a> {
    row: &'a str,
    ops: u64,
    cost: f64,
    switches: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<Unit>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extra: &'a BTreeMap<&'static str, f64>,
}

#[derive(Serialize)]
struct Lacking<'a> {
    row: &'a str,
    lacking: bool,
}

/// So many digits behind the point; more would only look exact.
fn round(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}
