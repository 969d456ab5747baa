//! The page: one file that needs no other, dark or light as the reader has it.

use std::fmt::Write;

use super::svg::{Plot, STYLE as COLOURS, class, escaped};
use super::{Report, TimedCell, grouped, plots, short, table};
use crate::peers::Peer;
use crate::plan::{Cell, Scenario, Work};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

pub(super) fn page(report: &Report) -> String {
    let plots = plots::all(report);
    let mut body = String::new();
    header(&mut body, report);
    headline(&mut body, report);
    section(&mut body, "counts", "Counted", COUNTED, &plots, &["instructions-"]);
    heat(&mut body, report);
    section(&mut body, "cpu", "Timed: CPU for each message", TIMED, &plots, &["ratios-"]);
    section(&mut body, "latency", "Latency at a fixed rate", LATENCY, &plots, &["latency-"]);
    section(&mut body, "memory", "Memory of idle connections", MEMORY, &plots, &["memory-"]);
    peers(&mut body, report);
    machine(&mut body, report);
    raw(&mut body, report);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>wheelhouse against async</title><style>{COLOURS}{STYLE}</style></head>\
         <body>{body}<script>{SCRIPT}</script></body></html>\n"
    )
}

const COUNTED: &str = "One connection, one batch after another. Each figure is the difference of a long and a short \
                       run, so that start and end cancel out: it is the same on a busy machine. Instructions are those \
                       in user space; what the kernel does for a system call is not among them.";
const TIMED: &str = "The server's CPU time, user and system, from the scheduler's own clock. Servers on one core, the \
                     load on another; short rounds go from peer to peer, the ratio is taken within each round, and \
                     its median stands here with its quartiles.";
const LATENCY: &str = "An open loop: each message has a moment at which it is due, and its latency counts from there, \
                       so that a stall is charged with every message that it held up. The right end is the worst of all.";
const MEMORY: &str = "What the connections add to the server's resident memory, divided by their number. What \
                      the kernel keeps for a socket or a thread is not in it.";

fn header(out: &mut String, report: &Report) {
    let machine = &report.machine;
    let _ = write!(
        out,
        "<header><button id=\"theme\" type=\"button\" aria-label=\"Switch between dark and light\">◐</button>\
         <h1>wheelhouse <span>against async</span></h1>\
         <p class=\"lead\">The same protocol, the same socket options, the same load that verifies every reply. \
         Every server is a process of its own, and every figure stands beside that of a bare epoll loop, \
         the <em>floor</em>.</p><p class=\"facts\">{} · {} cores · {} · {} · wheelhouse {} ({})</p></header>",
        escaped(&machine.cpu),
        machine.cores,
        escaped(&machine.kernel),
        escaped(&machine.rustc),
        escaped(machine.versions.get("wheelhouse").map_or("?", String::as_str)),
        escaped(&machine.commit),
    );
    if machine.build != "release" {
        let _ =
            write!(out, "<p class=\"warning\">Built for debugging: these figures say nothing.</p>");
    }
    if machine.pinned.is_none() {
        let _ = write!(
            out,
            "<p class=\"warning\">One core for servers and load alike: times say little; counts hold.</p>"
        );
    }
}

/// The figures that a reader looks for first: wheelhouse beside tokio.
fn headline(out: &mut String, report: &Report) {
    let mut cards = Vec::new();
    let exact =
        report.exact.iter().find(|cell| (cell.cell.work, cell.cell.pipeline) == (Work::Length, 1));
    if let Some(cell) = exact {
        let of = |wanted| {
            let counts = cell.peers.iter().find(|counts| counts.peer == wanted)?;
            counts.instructions.map(grouped)
        };
        cards.push((
            format!("instructions for a {} B frame", cell.cell.payload),
            of(Peer::Wheelhouse),
            of(Peer::Tokio),
        ));
    }
    let echo = Cell::echo(Work::Length, 64, 64, 1);
    for (pipeline, what) in [(1, "one at a time"), (16, "16 at a time")] {
        let found = report.timed.iter().find(|timed| timed.cell == Cell { pipeline, ..echo });
        if let Some(cell) = found {
            let says = format!("CPU against the floor, 64 B frames, {what}");
            cards.push((says, cpu(cell, Peer::Wheelhouse), cpu(cell, Peer::Tokio)));
        }
    }
    let idle = report
        .timed
        .iter()
        .find(|timed| timed.cell.scenario == Scenario::Idle && timed.cell.work == Work::Length);
    if let Some(cell) = idle {
        let of = |wanted| {
            let timed = cell.peers.iter().find(|timed| timed.peer == wanted)?;
            Some(format!("{} B", grouped(timed.memory?.for_each())))
        };
        cards.push(("for each idle connection".into(), of(Peer::Wheelhouse), of(Peer::Tokio)));
    }
    out.push_str("<div class=\"cards\">");
    for (what, ours, theirs) in cards {
        let (Some(ours), Some(theirs)) = (ours, theirs) else { continue };
        let _ = write!(
            out,
            "<div class=\"card\"><b>{ours}</b><span>{what}</span><small>tokio, current-thread: {theirs}</small></div>"
        );
    }
    out.push_str("</div>");
}

fn cpu(cell: &TimedCell, wanted: Peer) -> Option<String> {
    let one = cell.summaries().into_iter().find(|one| one.peer == wanted)?;
    Some(format!("{} ×", short(one.cpu_ratio?.median)))
}

fn section(out: &mut String, id: &str, title: &str, says: &str, plots: &[Plot], names: &[&str]) {
    let mut mine =
        plots.iter().filter(|plot| names.iter().any(|name| plot.name.starts_with(name))).peekable();
    if mine.peek().is_none() {
        return;
    }
    let _ = write!(out, "<section id=\"{id}\"><h2>{title}</h2><p>{}</p>", escaped(says));
    for plot in mine {
        let _ = write!(
            out,
            "<figure><figcaption>{}<small>{}</small></figcaption>{}</figure>",
            escaped(&plot.title),
            escaped(&plot.note),
            plot.inline()
        );
    }
    out.push_str("</section>");
}

/// Every ratio at once; the darker the worse.
fn heat(out: &mut String, report: &Report) {
    let cells: Vec<&TimedCell> =
        report.timed.iter().filter(|cell| cell.cell.scenario != Scenario::Idle).collect();
    if cells.is_empty() {
        return;
    }
    // Who has nothing to show in any row has no column.
    let is_shown = |peer: &Peer| {
        let here = |cell: &&TimedCell| cell.peers.iter().any(|timed| timed.peer == *peer);
        *peer != Peer::Floor && cells.iter().any(here)
    };
    let columns: Vec<Peer> = report.peers.iter().map(|note| note.peer).filter(is_shown).collect();
    let _ = write!(
        out,
        "<section id=\"ratios\"><h2>Every cell: CPU for each message against the floor</h2>\
         <p>Medians of the ratios. The best of each row is bold; a dash is a peer that has no such server, or \
         that could not be measured, which is said at the end of the page.</p><div \
         class=\"wide\"><table class=\"heat\"><thead><tr><th>cell</th><th>floor</th>"
    );
    for peer in &columns {
        let _ = write!(out, "<th class=\"{}\"><i></i>{}</th>", class(*peer), peer.name());
    }
    out.push_str("</tr></thead><tbody>");
    for cell in cells {
        let summaries = cell.summaries();
        let ratio = |peer: Peer| summaries.iter().find(|one| one.peer == peer)?.cpu_ratio;
        let best = columns.iter().filter_map(|peer| ratio(*peer)).map(|ratio| ratio.median);
        let best = best.min_by(f64::total_cmp).unwrap_or(0.0);
        let floor = summaries.iter().find(|one| one.peer == Peer::Floor);
        let floor = floor.map_or("–".into(), |floor| super::time(floor.cpu.median));
        let _ = write!(out, "<tr><th>{}</th><td class=\"floor\">{floor}</td>", cell.name);
        for peer in &columns {
            match ratio(*peer) {
                None => out.push_str("<td class=\"none\">–</td>"),
                Some(ratio) => {
                    let heat = (ratio.median.max(1.0).log2() * 26.0).min(78.0);
                    let bold = if ratio.median <= best { " best" } else { "" };
                    let us = if *peer == Peer::Wheelhouse { " us" } else { "" };
                    let _ = write!(
                        out,
                        "<td class=\"heat{bold}{us}\" style=\"--h:{heat:.0}%\" title=\"{}: quartiles {} to {}\">{}</td>",
                        peer.name(),
                        short(ratio.q1),
                        short(ratio.q3),
                        short(ratio.median)
                    );
                }
            }
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div></section>");
}

fn peers(out: &mut String, report: &Report) {
    out.push_str("<section id=\"peers\"><h2>The servers</h2><div class=\"wide\"><table class=\"peers\"><tbody>");
    for note in &report.peers {
        let package = note.peer.package().unwrap_or("the standard library");
        let version = note.version.as_deref().unwrap_or("");
        let _ = write!(
            out,
            "<tr class=\"{}\"><th><i></i>{}</th><td>{package} {version}</td><td>{}</td></tr>",
            class(note.peer),
            note.peer.name(),
            coded(&escaped(&note.made))
        );
    }
    out.push_str("</tbody></table></div>");
    if !report.absent.is_empty() {
        out.push_str("<h3>Not measured</h3><ul>");
        for absent in &report.absent {
            let (peer, cell, why) = (absent.peer.name(), &absent.cell, escaped(&absent.why));
            let _ = write!(out, "<li><b>{peer}</b> in <code>{cell}</code>: {why}</li>");
        }
        out.push_str("</ul>");
    }
    out.push_str("</section>");
}

/// With what stands between backticks as code.
fn coded(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let mark = |(at, part): (usize, &str)| match at % 2 {
        0 => part.to_owned(),
        _ => format!("<code>{part}</code>"),
    };
    parts.map(mark).collect()
}

fn machine(out: &mut String, report: &Report) {
    let machine = &report.machine;
    let pinned = machine.pinned.map_or("not pinned: one core".into(), |cores| {
        format!("servers on core {}, loads on core {}", cores.server, cores.load)
    });
    let facts = [
        ("command", format!("cargo run --release -p wheelhouse-versus -- {}", report.command)),
        (
            "processor",
            format!("{}, {} cores, {} MiB", machine.cpu, machine.cores, machine.memory_mib),
        ),
        ("kernel", format!("{}, clock source {}", machine.kernel, machine.clock_source)),
        ("pinned", pinned),
        ("load average at the beginning", machine.load_average.clone()),
        ("rounds", format!("{} of {} ms in each cell", report.plan.rounds, report.plan.round_ms)),
        ("built", format!("{}, {}, commit {}", machine.rustc, machine.build, machine.commit)),
        ("tools", format!("valgrind: {}; strace: {}", machine.valgrind, machine.strace)),
        (
            "versions",
            machine
                .versions
                .iter()
                .map(|(name, version)| format!("{name} {version}"))
                .collect::<Vec<_>>()
                .join(", "),
        ),
        ("flags of the processor", machine.cpu_flags.clone()),
    ];
    out.push_str("<section id=\"machine\"><h2>What it ran on</h2><dl>");
    for (what, says) in facts {
        let _ = write!(out, "<dt>{what}</dt><dd>{}</dd>", escaped(&says));
    }
    out.push_str("</dl></section>");
}

/// The whole table as text, for who wants the other columns.
fn raw(out: &mut String, report: &Report) {
    let _ = write!(
        out,
        "<section id=\"table\"><h2>All figures</h2><p>Throughput, latencies of the closed loop, how busy the \
         server's core was, and its memory. The raw rounds are in <code>results.json</code> beside this page.</p>\
         <details><summary>The table</summary><pre>{}</pre></details></section>",
        escaped(&table::text(report))
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_backticks_is_code() {
        assert_eq!(coded("by `run` alone"), "by <code>run</code> alone");
        assert_eq!(coded("nothing"), "nothing");
    }
}
