//! SVG by hand: a canvas that grows downwards, the shapes that any plot needs, and an axis whose steps multiply.
//!
//! Nothing here knows what is plotted: `wheelhouse-soak` draws on it, too. Colours are CSS variables, so that one drawing
//! serves light and dark; whoever draws brings the style that defines them.

use std::fmt::Write;

pub(super) const WIDTH: f64 = 860.0;

/// A drawing with a name for its file.
pub(super) struct Plot {
    pub(super) name: String,
    pub(super) title: String,
    /// What is shown, and in which direction lies the better.
    pub(super) note: String,
    body: String,
    height: f64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Middle,
    Right,
}

impl Plot {
    pub(super) fn new(name: impl Into<String>, title: impl Into<String>, note: &str) -> Self {
        let (name, title) = (name.into(), title.into());
        Self { name, title, note: note.into(), body: String::new(), height: 0.0 }
    }

    /// The drawing within a page.
    pub(super) fn inline(&self) -> String {
        let Self { title, body, height, .. } = self;
        let label = escaped(title);
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{label}\" \
             xmlns=\"http://www.w3.org/2000/svg\">{body}</svg>"
        )
    }

    /// A file that needs nothing else: with its title, its note and its colours, which `style` defines.
    pub(super) fn standalone(&self, style: &str) -> String {
        let height = self.height + 56.0;
        let (title, note, body) = (escaped(&self.title), escaped(&self.note), &self.body);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\">\
             <style>{style}</style><rect class=\"paper\" width=\"100%\" height=\"100%\"/>\
             <text class=\"title\" x=\"12\" y=\"24\">{title}</text><text class=\"soft\" x=\"12\" y=\"42\">{note}</text>\
             <g transform=\"translate(0 56)\">{body}</g></svg>\n"
        )
    }

    /// Room for so much more below; returns where it begins.
    pub(super) fn grow(&mut self, height: f64) -> f64 {
        let top = self.height;
        self.height += height;
        top
    }

    pub(super) fn text(&mut self, class: &str, x: f64, y: f64, align: Align, text: &str) {
        let anchor = match align {
            Align::Left => "start",
            Align::Middle => "middle",
            Align::Right => "end",
        };
        let text = escaped(text);
        self.put(format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    pub(super) fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.put(format_args!(
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        ));
    }

    /// Anything else, as SVG.
    pub(super) fn put(&mut self, shape: std::fmt::Arguments<'_>) {
        // A String takes everything.
        let _ = self.body.write_fmt(shape);
    }
}

pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// An axis whose steps multiply.
#[derive(Clone, Copy)]
pub(super) struct Log {
    from: f64,
    to: f64,
    at: f64,
    length: f64,
}

impl Log {
    /// Maps `from` to `at`, and `to` to `length` further; a negative length goes up.
    pub(super) fn new((from, to): (f64, f64), at: f64, length: f64) -> Self {
        Self { from: from.ln(), to: to.max(from * 1.01).ln(), at, length }
    }

    pub(super) fn place(self, value: f64) -> f64 {
        let part = (value.max(f64::MIN_POSITIVE).ln() - self.from) / (self.to - self.from);
        self.at + part.clamp(0.0, 1.0) * self.length
    }

    /// Round numbers on it: 1, 2 and 5 of each power of ten, or more of them where the axis is short.
    pub(super) fn ticks(self) -> Vec<f64> {
        let few = [1.0, 2.0, 5.0];
        let many = [1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0];
        let steps: &[f64] = if self.to - self.from > 2.5 { &few } else { &many };
        let mut ticks = Vec::new();
        for power in -3..12 {
            ticks.extend(steps.iter().map(|step| step * 10_f64.powi(power)));
        }
        ticks.retain(|tick| (self.from - 1e-9..=self.to + 1e-9).contains(&tick.ln()));
        ticks
    }
}

/// With commas between thousands.
pub(crate) fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_maps_its_ends_to_its_ends() {
        let axis = Log::new((1.0, 100.0), 10.0, 200.0);
        assert_eq!(axis.place(1.0), 10.0);
        assert_eq!(axis.place(10.0), 110.0);
        assert_eq!(axis.place(1_000.0), 210.0, "what is beyond stays at the edge");
        let ticks: Vec<String> = axis.ticks().iter().map(|tick| format!("{tick:.0}")).collect();
        assert_eq!(ticks, ["1", "2", "5", "10", "20", "50", "100"]);
    }

    #[test]
    fn text_cannot_leave_its_element() {
        assert_eq!(escaped("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }
}
