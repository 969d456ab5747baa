//! What these plots draw on the canvas: bars, dots and curves in the colours of the peers.
//!
//! `plot.css` defines the colours for a plot that stands alone, the page for those within it.

use std::fmt::Write;

pub(super) use super::canvas::{Align, Log, Plot, WIDTH, escaped};
use crate::peers::Peer;

/// The colours, also for the page.
pub(super) const STYLE: &str = include_str!("plot.css");

impl Plot {
    /// A bar from the left, with its tip rounded.
    pub(super) fn bar(
        &mut self,
        peer: Peer,
        (x, y): (f64, f64),
        (width, height): (f64, f64),
        says: &str,
    ) {
        let (class, says) = (class(peer), escaped(says));
        let width = width.max(1.0);
        self.put(format_args!(
            "<rect class=\"fill {class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             rx=\"2\"><title>{says}</title></rect>"
        ));
    }

    pub(super) fn dot(&mut self, peer: Peer, (x, y): (f64, f64), radius: f64, says: &str) {
        let (class, says) = (class(peer), escaped(says));
        self.put(format_args!(
            "<circle class=\"fill dot {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"><title>{says}</title></circle>"
        ));
    }

    /// A thin line in the peer's colour: the quartiles about a dot.
    pub(super) fn whisker(&mut self, peer: Peer, (from, to): (f64, f64), y: f64) {
        self.line(&format!("whisker {}", class(peer)), (from, y), (to, y));
    }

    pub(super) fn curve(&mut self, peer: Peer, points: &[(f64, f64)], says: &str) {
        let mut path = String::new();
        for (x, y) in points {
            let _ = write!(path, "{x:.1},{y:.1} ");
        }
        let (class, says) = (class(peer), escaped(says));
        self.put(format_args!(
            "<polyline class=\"curve {class}\" points=\"{path}\"><title>{says}</title></polyline>"
        ));
    }

    /// The peers and their colours, in as many lines as they need.
    pub(super) fn legend(&mut self, peers: &[Peer], left: f64) {
        let mut x = left;
        let mut y = self.grow(22.0) + 12.0;
        for peer in peers {
            let width = 22.0 + peer.name().len() as f64 * 7.2;
            if x + width > WIDTH {
                x = left;
                y = self.grow(18.0) + 12.0;
            }
            self.dot(
                *peer,
                (x + 5.0, y - 4.0),
                if *peer == Peer::Wheelhouse { 5.5 } else { 4.5 },
                "",
            );
            self.text("label", x + 14.0, y, Align::Left, peer.name());
            x += width + 8.0;
        }
        self.grow(6.0);
    }
}

/// The class that gives a peer its colour.
pub(super) fn class(peer: Peer) -> String {
    format!("p-{}", peer.name())
}
