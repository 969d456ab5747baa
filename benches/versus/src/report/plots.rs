//! The plots: bars of what was counted, dots of the ratios, curves of latency, bars of memory.

use super::svg::{Align, Log, Plot, WIDTH};
use super::{ExactCell, Report, TimedCell, grouped, short, time};
use crate::peers::Peer;
use crate::plan::{Cell, Scenario, Work};
use crate::stats::Spread;

const NAMES: f64 = 128.0;
const ROW: f64 = 24.0;

/// Every plot for which there are figures.
pub(super) fn all(report: &Report) -> Vec<Plot> {
    let mut plots = Vec::new();
    let is_plain = |cell: &&ExactCell| cell.cell.payload == 64 && cell.cell.connections == 1;
    plots.extend(report.exact.iter().filter(is_plain).filter_map(instructions));
    for work in Work::ECHOES {
        plots.extend(ratios(report, work));
    }
    plots.extend(others(report));
    plots.extend(report.timed.iter().filter_map(latency));
    plots.extend(report.timed.iter().filter_map(memory));
    plots
}

pub(super) fn work_title(work: Work) -> &'static str {
    match work {
        Work::Bytes => "bytes as they come",
        Work::Length => "length-delimited frames",
        Work::WebSocket => "WebSocket messages",
        Work::Broadcast => "a broadcast",
    }
}

/// One horizontal bar for each, the least first.
fn bars(mut plot: Plot, mut rows: Vec<(Peer, f64, String)>) -> Option<Plot> {
    rows.sort_by(|a, b| a.1.total_cmp(&b.1));
    let most = rows.last()?.1.max(f64::MIN_POSITIVE);
    let longest = WIDTH - NAMES - 200.0;
    for (peer, value, says) in rows {
        let y = plot.grow(ROW);
        let strong = if peer == Peer::Wheelhouse { "label strong" } else { "label" };
        plot.text(strong, NAMES - 10.0, y + 16.0, Align::Right, peer.name());
        let width = value / most * longest;
        plot.bar(peer, (NAMES, y + 4.0), (width, ROW - 8.0), &format!("{}: {says}", peer.name()));
        plot.text("value", NAMES + width + 8.0, y + 16.0, Align::Left, &says);
    }
    plot.grow(8.0);
    Some(plot)
}

fn instructions(cell: &ExactCell) -> Option<Plot> {
    let Cell { work, payload, pipeline, .. } = cell.cell;
    let title = format!("Instructions: {}, {payload} B, {pipeline} at a time", work_title(work));
    let note = "user instructions of the server for each message, by callgrind; less is better";
    let plot = Plot::new(format!("instructions-{}-p{pipeline}", work.name()), title, note);
    let row = |counts: &crate::exact::Counts| {
        let count = counts.instructions?;
        let calls = counts.calls_in_all();
        let calls =
            calls.map_or(String::new(), |calls| format!(" · {} system calls", short(calls)));
        Some((counts.peer, count, format!("{}{calls}", grouped(count))))
    };
    bars(plot, cell.peers.iter().filter_map(row).collect())
}

fn memory(cell: &TimedCell) -> Option<Plot> {
    let Cell { scenario: Scenario::Idle, work, connections, .. } = cell.cell else { return None };
    let title =
        format!("Memory: {} idle connections, {}", grouped(connections as f64), work_title(work));
    let note =
        "resident bytes of the server for each connection that has echoed once; less is better";
    let plot = Plot::new(format!("memory-{}-{connections}c", work.name()), title, note);
    let row = |timed: &crate::timed::Timed| {
        let each = timed.memory?.for_each();
        Some((timed.peer, each, format!("{} B", grouped(each))))
    };
    bars(plot, cell.peers.iter().filter_map(row).collect())
}

/// What a row of dots is about.
struct Dots {
    label: String,
    dots: Vec<(Peer, Spread)>,
}

fn dots_of(label: String, cell: &TimedCell) -> Dots {
    // Who looks instead of sleeping pays in CPU: its price stands with what it buys, in the tables of latency.
    let ratio = |one: super::Summary| {
        (one.peer != Peer::WheelhouseBusy).then_some((one.peer, one.cpu_ratio?))
    };
    Dots { label, dots: cell.summaries().into_iter().filter_map(ratio).collect() }
}

fn ratios(report: &Report, work: Work) -> Option<Plot> {
    let rows = report.timed.iter().filter(|cell| {
        cell.cell.scenario == Scenario::Echo && cell.cell.work == work && !cell.peers.is_empty()
    });
    let label = |cell: &Cell| {
        let (payload, connections) =
            (grouped(cell.payload as f64), grouped(cell.connections as f64));
        format!("{payload} B · {connections} conn · ×{}", cell.pipeline)
    };
    let rows = rows.map(|cell| dots_of(label(&cell.cell), cell)).collect();
    let title = format!("CPU time against the floor: {}", work_title(work));
    dots(&format!("ratios-{}", work.name()), &title, rows)
}

/// Broadcasts, churn, and messages at a fixed rate.
fn others(report: &Report) -> Option<Plot> {
    let row = |cell: &TimedCell| {
        let Cell { scenario, work, payload, connections, rate, .. } = cell.cell;
        let connections = grouped(connections as f64);
        let label = match scenario {
            Scenario::Broadcast => format!("broadcast, {payload} B to {connections}"),
            Scenario::Crowd => {
                format!("{} of {connections} active", cell.cell.active())
            }
            Scenario::Churn => format!("connect, echo, close: {connections} at once"),
            Scenario::Latency => {
                format!("{}, {}/s on {connections}", work.name(), grouped(rate as f64))
            }
            _ => return None,
        };
        Some(dots_of(label, cell))
    };
    let rows = report.timed.iter().filter_map(row).collect();
    dots("ratios-others", "CPU time against the floor: other kinds of work", rows)
}

/// A row for each cell, a dot for each peer on an axis of ratios.
fn dots(name: &str, title: &str, rows: Vec<Dots>) -> Option<Plot> {
    const LABELS: f64 = 210.0;
    let all = || rows.iter().flat_map(|row| &row.dots);
    let least = all().map(|(_, ratio)| ratio.median).min_by(f64::total_cmp)?;
    let most = all().map(|(_, ratio)| ratio.median).max_by(f64::total_cmp)?;
    let note = "CPU time of the server for each message, as a multiple of the bare epoll loop's; median and quartiles of \
                the rounds; further left is better";
    let mut plot = Plot::new(name, title, note);
    let mut peers: Vec<Peer> = all().map(|(peer, _)| *peer).collect();
    peers.sort();
    peers.dedup();
    plot.legend(&peers, LABELS);
    let axis = Log::new((least.min(0.95) * 0.98, most * 1.04), LABELS, WIDTH - LABELS - 16.0);
    let top = plot.grow(rows.len() as f64 * ROW + 8.0);
    let bottom = top + rows.len() as f64 * ROW;
    for tick in axis.ticks() {
        let x = axis.place(tick);
        let class = if tick == 1.0 { "axis" } else { "grid" };
        plot.line(class, (x, top), (x, bottom));
    }
    for (at, row) in rows.iter().enumerate() {
        let y = top + (at as f64 + 0.5) * ROW;
        plot.text("label", LABELS - 12.0, y + 4.0, Align::Right, &row.label);
        let mut dots: Vec<_> = row.dots.iter().collect();
        dots.sort_by_key(|(peer, _)| *peer == Peer::Wheelhouse); // on top of the others
        for (peer, ratio) in dots {
            let Spread { q1, median, q3 } = *ratio;
            plot.whisker(*peer, (axis.place(q1), axis.place(q3)), y);
            let says = format!(
                "{}: {} × the floor ({}–{})",
                peer.name(),
                short(median),
                short(q1),
                short(q3)
            );
            let radius = if *peer == Peer::Wheelhouse { 6.0 } else { 4.5 };
            plot.dot(*peer, (axis.place(median), y), radius, &says);
        }
    }
    let y = plot.grow(20.0);
    for tick in axis.ticks() {
        plot.text("tick", axis.place(tick), y + 6.0, Align::Middle, &format!("{}×", plain(tick)));
    }
    Some(plot)
}

/// Without zeros that say nothing.
fn plain(number: f64) -> String {
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub(super) fn latency_name(cell: &Cell) -> String {
    format!("latency-{}-{}c", cell.work.name(), cell.connections)
}

/// One curve for each peer, from the median to the worst.
fn latency(cell: &TimedCell) -> Option<Plot> {
    const LEFT: f64 = 76.0;
    const RIGHT: f64 = 130.0;
    const HEIGHT: f64 = 300.0;
    const STEPS: [(f64, &str); 6] = [
        (0.5, "p50"),
        (0.9, "p90"),
        (0.99, "p99"),
        (0.999, "p99.9"),
        (0.9999, "p99.99"),
        (1.0, "max"),
    ];
    let Cell { scenario: Scenario::Latency, work, connections, rate, .. } = cell.cell else {
        return None;
    };
    let curve = |timed: &crate::timed::Timed| -> Option<Vec<f64>> {
        let at = |part: f64| timed.latency_curve.iter().find(|(quantile, _)| *quantile == part);
        STEPS.iter().map(|(part, _)| at(*part).map(|(_, nanos)| *nanos as f64)).collect()
    };
    let mut curves: Vec<(Peer, Vec<f64>)> =
        cell.peers.iter().filter_map(|timed| Some((timed.peer, curve(timed)?))).collect();
    curves.sort_by_key(|(peer, _)| *peer == Peer::Wheelhouse);
    let values = || curves.iter().flat_map(|(_, curve)| curve.iter().copied());
    let (least, most) = (values().min_by(f64::total_cmp)?, values().max_by(f64::total_cmp)?);
    let rate = grouped(rate as f64);
    let connections_text = grouped(connections as f64);
    let title = format!("Latency: {}, {rate} a second on {connections_text}", work_title(work));
    let note =
        "from the moment at which each message was due; all rounds together; lower is better";
    let mut plot = Plot::new(latency_name(&cell.cell), title, note);
    let top = plot.grow(HEIGHT + 12.0) + 12.0;
    let bottom = top + HEIGHT - 12.0;
    let axis = Log::new((least * 0.9, most * 1.1), bottom, top - bottom);
    for tick in axis.ticks() {
        let y = axis.place(tick);
        plot.line("grid", (LEFT, y), (WIDTH - RIGHT, y));
        plot.text("tick", LEFT - 8.0, y + 4.0, Align::Right, &time(tick));
    }
    let x = |step: usize| LEFT + (WIDTH - LEFT - RIGHT) * step as f64 / (STEPS.len() - 1) as f64;
    let y = plot.grow(24.0);
    for (step, (_, label)) in STEPS.iter().enumerate() {
        plot.line("grid", (x(step), top), (x(step), bottom));
        plot.text("tick", x(step), y + 12.0, Align::Middle, label);
    }
    let mut ends = Vec::new();
    for (peer, curve) in &curves {
        let points: Vec<_> =
            curve.iter().enumerate().map(|(step, nanos)| (x(step), axis.place(*nanos))).collect();
        plot.curve(*peer, &points, peer.name());
        ends.push((points.last()?.1, *peer));
    }
    name_ends(&mut plot, ends, WIDTH - RIGHT + 8.0);
    Some(plot)
}

/// Writes each name beside the end of its curve, pushed down where another stands there.
fn name_ends(plot: &mut Plot, mut ends: Vec<(f64, Peer)>, x: f64) {
    const LINE: f64 = 14.0;
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut free = f64::MIN;
    for (y, peer) in ends {
        let y = y.max(free);
        free = y + LINE;
        plot.dot(peer, (x + 3.0, y), 3.5, "");
        let class = if peer == Peer::Wheelhouse { "label strong" } else { "label" };
        plot.text(class, x + 11.0, y + 4.0, Align::Left, peer.name());
    }
}
