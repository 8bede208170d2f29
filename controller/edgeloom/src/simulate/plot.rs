//! Plots as inline SVG: lines over two axes with ticks and units.

use std::fmt::Write as _;

/// Some lines over one pair of axes.
pub(super) struct Plot<'p> {
    pub(super) title: String,
    pub(super) x: &'p str,
    pub(super) y: &'p str,
    pub(super) lines: Vec<Line>,
    /// A horizontal mark, such as a promise, with its name.
    pub(super) mark: Option<(f64, String)>,
    /// Where the y axis ends at least.
    pub(super) y_least: f64,
}

/// Points in the order of x; breaks are gaps in it.
pub(super) struct Line {
    pub(super) name: String,
    /// Which of the page's colours.
    pub(super) colour: usize,
    pub(super) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 620.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;

impl Plot<'_> {
    /// A figure with a caption and a legend; nothing where there is no point.
    pub(super) fn figure(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        if points().count() == 0 {
            return String::new();
        }
        let marked = self.mark.iter().map(|(at, _)| *at);
        let x_axis = Axis::up_to(points().map(|point| point.0).fold(0.0, f64::max));
        let highest = points()
            .map(|point| point.1)
            .chain(marked)
            .fold(self.y_least, f64::max);
        let y_axis = Axis::up_to(highest);
        let at_x = |x: f64| LEFT + x / x_axis.end * (WIDTH - LEFT - RIGHT);
        let at_y = |y: f64| HEIGHT - BOTTOM - y / y_axis.end * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!(
            "<figure><figcaption>{}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escaped(&self.title),
            escaped(&self.title)
        );
        for tick in x_axis.ticks() {
            let x = at_x(tick);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                HEIGHT - BOTTOM,
                HEIGHT - BOTTOM + 16.0,
                x_axis.label(tick)
            );
        }
        for tick in y_axis.ticks() {
            let y = at_y(tick);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0,
                y_axis.label(tick)
            );
        }
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        let _ = write!(
            svg,
            "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text transform=\"translate(14 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 8.0,
            escaped(self.x),
            (TOP + HEIGHT - BOTTOM) / 2.0,
            escaped(self.y)
        );
        if let Some((at, name)) = &self.mark {
            let y = at_y(*at);
            let _ = write!(
                svg,
                "<line class=\"mark\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                WIDTH - RIGHT - 2.0,
                y - 4.0,
                escaped(name)
            );
        }
        for line in &self.lines {
            let at = |(x, y): &(f64, f64)| format!("{:.1},{:.1}", at_x(*x), at_y(*y));
            let points: Vec<String> = line.points.iter().map(at).collect();
            let _ = write!(
                svg,
                "<polyline class=\"c{}\" points=\"{}\"/>",
                line.colour,
                points.join(" ")
            );
        }
        svg += "</svg><p class=\"legend\">";
        for line in &self.lines {
            let _ = write!(
                svg,
                "<span><i class=\"c{}\"></i>{}</span> ",
                line.colour,
                escaped(&line.name)
            );
        }
        svg + "</p></figure>\n"
    }
}

/// From 0 to a round number.
struct Axis {
    end: f64,
    step: f64,
}

impl Axis {
    /// An axis of four to ten steps of 1, 2 or 5 times a power of ten.
    fn up_to(most: f64) -> Self {
        let most = if most.is_finite() && most > 0.0 { most } else { 1.0 };
        let rough = most / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * power)
            .find(|step| *step >= rough * (1.0 - 1e-9))
            .unwrap_or(power * 10.0);
        Self {
            end: (most / step * (1.0 - 1e-9)).ceil().max(1.0) * step,
            step,
        }
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let step = self.step;
        let count = (self.end / step).round();
        (0_u32..)
            .map(f64::from)
            .take_while(move |tick| *tick <= count)
            .map(move |tick| tick * step)
    }

    /// With as many decimals as tell ticks apart.
    fn label(&self, tick: f64) -> String {
        let decimals = (0_usize..6).find(|decimals| {
            let scaled = self.step * 10_f64.powi(i32::try_from(*decimals).unwrap_or(0));
            (scaled - scaled.round()).abs() < 1e-6
        });
        format!("{tick:.*}", decimals.unwrap_or(6))
    }
}

/// Text that is not taken for markup.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers_that_hold_everything() {
        for (most, end, labels) in [
            (1.0, 1.0, ["0.0", "0.2"]),
            (97.0, 100.0, ["0", "20"]),
            (0.013, 0.015, ["0.000", "0.005"]),
            (300.0, 300.0, ["0", "100"]),
            (0.0, 1.0, ["0.0", "0.2"]),
        ] {
            let axis = Axis::up_to(most);
            assert!((axis.end - end).abs() < 1e-9, "{most}: {}", axis.end);
            let found: Vec<String> = axis.ticks().take(2).map(|tick| axis.label(tick)).collect();
            assert_eq!(found, labels, "{most}");
            let last = axis.ticks().last().unwrap_or(0.0);
            assert!((last - axis.end).abs() < 1e-9 && (4..=11).contains(&axis.ticks().count()) || most < 0.1);
        }
    }

    #[test]
    fn a_plot_has_its_axes_lines_and_units_and_no_markup_of_its_data() {
        let plot = Plot {
            title: "a < b".to_owned(),
            x: "time (s)",
            y: "tokens/s",
            lines: vec![Line {
                name: "<script>".to_owned(),
                colour: 0,
                points: vec![(0.0, 0.0), (10.0, 5.0)],
            }],
            mark: Some((4.0, "promise".to_owned())),
            y_least: 0.0,
        };
        let figure = plot.figure();
        for part in [
            "a &lt; b",
            "time (s)",
            "tokens/s",
            "promise",
            "&lt;script&gt;",
            "points=\"64.0,216.0 604.0,12.0\"",
        ] {
            assert!(figure.contains(part), "{part} in {figure}");
        }
        assert!(!figure.contains("<script>"));
    }
}
