//! The page: one file that needs no other, dark or light as the reader has it.

use std::fmt::Write;

use super::svg::{Plot, STYLE as COLOURS, class, escaped};
use super::{Report, TimedCell, crowd, grouped, plots, short, table, time};
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
    silent(&mut body, report);
    latency(&mut body, report, &plots);
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
                       so that a stall is charged with every message that it held up. The right end is the worst of all. \
                       `wheelhouse-busy` looks for news for 100 µs before it sleeps: what that buys stands beside what it \
                       costs, how much of its core the server takes.";
const SILENT: &str = "The same 50 connections speak in both cases; in the second, 4,950 more are there and silent. The CPU time \
                      of the server for each message, one case after the other in each round; for wheelhouse the user \
                      instructions, too, which hold to a hundredth. A ratio of 1 says that silent connections cost nothing.";
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
    if let Some(share) = report.hampered_load() {
        let percent = share * 100.0;
        let _ = write!(
            out,
            "<p class=\"warning\">The machine was busy: the load, which never sleeps, had {percent:.0} % of its core. \
             Counts hold; times say little.</p>"
        );
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
    mine.for_each(|plot| figure(out, plot));
    out.push_str("</section>");
}

fn figure(out: &mut String, plot: &Plot) {
    let _ = write!(
        out,
        "<figure><figcaption>{}<small>{}</small></figcaption>{}</figure>",
        escaped(&plot.title),
        escaped(&plot.note),
        plot.inline()
    );
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
        !matches!(peer, Peer::Floor | Peer::WheelhouseBusy) && cells.iter().any(here)
    };
    let columns: Vec<Peer> = report.peers.iter().map(|note| note.peer).filter(is_shown).collect();
    let _ = write!(
        out,
        "<section id=\"ratios\"><h2>Every cell: CPU for each message against the floor</h2>\
         <p>Medians of the ratios: 1.20 is a fifth more CPU time for a message than the floor takes, whose own time is in \
         the second column. The best of each row is bold; a dash is a peer that has no such server, or \
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
        let floor = floor.map_or("–".into(), |floor| time(floor.cpu.median));
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

/// What connections cost that are there and say nothing.
fn silent(out: &mut String, report: &Report) {
    for crowd in crowd::all(report) {
        let [few, many] = [crowd.few, crowd.many].map(|cell| grouped(cell.connections as f64));
        let _ = write!(
            out,
            "<section id=\"silent\"><h2>Silent connections</h2><p>{}</p><div class=\"wide\"><table class=\"figures\">\
             <thead><tr><th></th><th>CPU, {few} active</th><th>CPU, {few} of {many} active</th><th>ratio</th>\
             <th>quartiles</th><th>instructions, {few}</th><th>instructions, {few} of {many}</th><th>ratio</th></tr>\
             </thead><tbody>",
            escaped(SILENT)
        );
        for row in &crowd.rows {
            let count =
                |place: usize| row.instructions.map_or("–".into(), |both| grouped(both[place]));
            let ratio =
                row.instructions_ratio().map_or("–".into(), |ratio| format!("{ratio:.3} ×"));
            let cells = [
                time(row.cpu[0]),
                time(row.cpu[1]),
                format!("{} ×", short(row.cpu_ratio.median)),
                format!("{}–{}", short(row.cpu_ratio.q1), short(row.cpu_ratio.q3)),
                count(0),
                count(1),
                ratio,
            ];
            figures_row(out, row.peer, &cells);
        }
        out.push_str("</tbody></table></div></section>");
    }
}

fn figures_row(out: &mut String, peer: Peer, cells: &[String]) {
    let strong = if peer == Peer::Wheelhouse { " strong" } else { "" };
    let _ = write!(out, "<tr class=\"{}{strong}\"><th><i></i>{}</th>", class(peer), peer.name());
    for cell in cells {
        let _ = write!(out, "<td>{cell}</td>");
    }
    out.push_str("</tr>");
}

/// A curve for each cell, and the figures below it.
fn latency(out: &mut String, report: &Report, plots: &[Plot]) {
    let cells: Vec<&TimedCell> =
        report.timed.iter().filter(|cell| cell.cell.scenario == Scenario::Latency).collect();
    if cells.is_empty() {
        return;
    }
    let says = coded(&escaped(LATENCY));
    let _ = write!(out, "<section id=\"latency\"><h2>Latency at a fixed rate</h2><p>{says}</p>");
    for cell in cells {
        let name = plots::latency_name(&cell.cell);
        plots.iter().filter(|plot| plot.name == name).for_each(|plot| figure(out, plot));
        out.push_str(
            "<div class=\"wide\"><table class=\"figures\"><thead><tr><th></th><th>p50</th><th>p99</th><th>p99.9</th>\
             <th>max</th><th>CPU for each message</th><th>of the core</th></tr></thead><tbody>",
        );
        for one in cell.summaries() {
            let cells = [
                time(one.p50.median),
                time(one.p99.median),
                time(one.p999.median),
                time(one.max_ns as f64),
                time(one.cpu.median),
                format!("{:.0} %", one.busy.median * 100.0),
            ];
            figures_row(out, one.peer, &cells);
        }
        out.push_str(
            "</tbody></table></div><p class=\"below\">Medians over the rounds; max is the worst of all.</p>",
        );
    }
    out.push_str("</section>");
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
