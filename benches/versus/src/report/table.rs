//! The table: for each cell, every peer's ratio to the floor, and the figures that it is made of.

use std::fmt::Write;

use super::crowd::{self, Crowd};
use super::{ExactCell, Report, Summary, TimedCell, grouped, short, time};
use crate::plan::Scenario;
use crate::stats::Spread;

/// A line of columns: what stands left, what stands right.
type Row = Vec<String>;

pub(crate) fn text(report: &Report) -> String {
    let mut out = String::new();
    if let Some(share) = report.hampered_load() {
        let percent = share * 100.0;
        let _ = writeln!(
            out,
            "\nThe machine was busy: the load had {percent:.0} % of its core. Counts hold, times say little."
        );
    }
    for cell in &report.exact {
        block(&mut out, &cell.name, &exact(cell));
    }
    for cell in &report.timed {
        block(&mut out, &cell.name, &timed(cell));
    }
    for crowd in crowd::all(report) {
        let (few, many) =
            (grouped(crowd.few.connections as f64), grouped(crowd.many.connections as f64));
        let name = format!("{many} connections, {few} of them active, beside {few} by themselves");
        block(&mut out, &name, &crowded(&crowd));
    }
    if !report.absent.is_empty() {
        out.push_str("\nNot measured\n");
        for absent in &report.absent {
            let _ = writeln!(out, "  {} in {}: {}", absent.peer.name(), absent.cell, absent.why);
        }
    }
    out
}

/// A heading and aligned columns; the first column is of names.
fn block(out: &mut String, name: &str, rows: &[Row]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let _ = writeln!(out, "\n{name}");
    for row in rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match column {
                0 => write!(out, "  {cell:<width$}"),
                _ => write!(out, "  {cell:>width$}"),
            };
        }
        out.push('\n');
    }
}

fn row(cells: &[&str]) -> Row {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

fn exact(cell: &ExactCell) -> Vec<Row> {
    let mut rows = vec![row(&["", "instructions", "calls", "which"])];
    for counts in &cell.peers {
        let calls = counts.calls.as_ref().map(|calls| {
            let each = |(name, each): (&String, &f64)| format!("{name} {}", short(*each));
            calls.iter().map(each).collect::<Vec<_>>().join(", ")
        });
        rows.push(vec![
            counts.peer.name().to_owned(),
            counts.instructions.map_or("–".into(), grouped),
            counts.calls_in_all().map_or("–".into(), short),
            calls.unwrap_or_default(),
        ]);
    }
    rows
}

fn crowded(crowd: &Crowd) -> Vec<Row> {
    let few = grouped(crowd.few.connections as f64);
    let many = grouped(crowd.many.connections as f64);
    let mut rows = vec![vec![
        String::new(),
        format!("CPU, {few}"),
        format!("CPU, {many}"),
        "ratio".into(),
        "quartiles".into(),
        format!("instructions, {few}"),
        format!("{many}"),
        "ratio".into(),
    ]];
    rows.extend(crowd.rows.iter().map(|row| {
        let Spread { q1, median, q3 } = row.cpu_ratio;
        let count =
            |place: usize| row.instructions.map_or("–".into(), |both| grouped(both[place]));
        vec![
            row.peer.name().to_owned(),
            time(row.cpu[0]),
            time(row.cpu[1]),
            format!("{} ×", short(median)),
            format!("{}–{}", short(q1), short(q3)),
            count(0),
            count(1),
            row.instructions_ratio().map_or("–".into(), |ratio| format!("{ratio:.3} ×")),
        ]
    }));
    rows
}

fn timed(cell: &TimedCell) -> Vec<Row> {
    if cell.cell.scenario == Scenario::Idle {
        let mut rows = vec![row(&["", "bytes each", "resident KiB"])];
        for timed in &cell.peers {
            let Some(memory) = timed.memory else { continue };
            rows.push(vec![
                timed.peer.name().to_owned(),
                grouped(memory.for_each()),
                grouped(memory.after as f64 / 1_024.0),
            ]);
        }
        return rows;
    }
    let mut rows = vec![row(&[
        "",
        "CPU ×",
        "quartiles",
        "CPU",
        "rate ×",
        "a second",
        "p50",
        "p99",
        "p99.9",
        "max",
        "busy",
        "KiB",
    ])];
    rows.extend(cell.summaries().iter().map(of_one));
    rows
}

fn of_one(one: &Summary) -> Row {
    let ratio = |spread: Option<Spread>| spread.map_or("–".into(), |spread| short(spread.median));
    let quartiles = one
        .cpu_ratio
        .map_or(String::new(), |spread| format!("{}–{}", short(spread.q1), short(spread.q3)));
    vec![
        one.peer.name().to_owned(),
        ratio(one.cpu_ratio),
        quartiles,
        time(one.cpu.median),
        ratio(one.rate_ratio),
        grouped(one.rate.median),
        time(one.p50.median),
        time(one.p99.median),
        time(one.p999.median),
        time(one.max_ns as f64),
        format!("{:.0} %", one.busy.median * 100.0),
        grouped(one.resident.median / 1_024.0),
    ]
}
