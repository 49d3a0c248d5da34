//! Lines over time as SVG, made here so that they show without a script.
//!
//! Limits: a line has as many points as a span has steps; coordinates are whole numbers, so that a
//! chart is a few kilobytes.

/// The drawing's width and height in units of its own; the style sheet stretches it.
pub(super) const WIDTH: u32 = 720;
pub(super) const HEIGHT: u32 = 120;

/// A chart with one scale for all its lines.
pub(super) struct Chart {
    pub(super) lines: Vec<Line>,
    /// What the upper edge stands for, in words.
    pub(super) top: String,
    /// For those who hear it.
    pub(super) label: String,
}

/// A line and its place in the legend.
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) class: &'static str,
    /// The `d` of a path; gaps are gaps.
    pub(super) path: String,
    /// The last value, in words; empty where nothing is known.
    pub(super) now: String,
}

/// Name, class and values of a line.
pub(super) type Series = (&'static str, &'static str, Vec<f32>);

/// Draws series of the same length, the oldest value first, on a scale from nought to the greatest.
pub(super) fn chart(series: &[Series], words: impl Fn(f32) -> String) -> Chart {
    let known = |values: &[f32]| {
        values.iter().copied().filter(|value| value.is_finite()).fold(0.0, f32::max)
    };
    let top = round_up(series.iter().map(|(_, _, values)| known(values)).fold(0.0, f32::max));
    let lines: Vec<Line> = series
        .iter()
        .map(|(name, class, values)| Line {
            name,
            class,
            path: path(values, top),
            now: values
                .last()
                .filter(|value| value.is_finite())
                .map(|value| words(*value))
                .unwrap_or_default(),
        })
        .collect();
    let told = |line: &Line| {
        format!("{} {}", line.name, if line.now.is_empty() { "not known" } else { &line.now })
    };
    let label = lines.iter().map(told).collect::<Vec<_>>().join(", ");
    Chart { lines, top: words(top), label }
}

/// 1, 2 or 5 times a power of ten: a scale that people read.
fn round_up(value: f32) -> f32 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let magnitude = 10f32.powf(value.log10().floor());
    let step = [1.0, 2.0, 5.0].into_iter().find(|step| step * magnitude >= value).unwrap_or(10.0);
    step * magnitude
}

fn path(values: &[f32], top: f32) -> String {
    let mut path = String::new();
    let last = values.len().saturating_sub(1).max(1) as f32;
    let mut drawing = false;
    for (place, value) in values.iter().enumerate() {
        if !value.is_finite() {
            drawing = false;
            continue;
        }
        let x = place as f32 / last * WIDTH as f32;
        let y = HEIGHT as f32 * (1.0 - (value / top).clamp(0.0, 1.0));
        path.push_str(&format!("{}{x:.0} {y:.0}", if drawing { "L" } else { "M" }));
        if !drawing && values.get(place + 1).is_none_or(|next| !next.is_finite()) {
            // A point without neighbours would be nothing: a line of no length with round ends is a
            // dot.
            path.push_str(&format!("L{x:.0} {y:.0}"));
        }
        drawing = true;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_from_edge_to_edge_with_gaps_where_nothing_is_known() {
        assert_eq!(path(&[0.0, 5.0, 10.0], 10.0), "M0 120L360 60L720 0");
        assert_eq!(path(&[1.0, f32::NAN, 1.0], 1.0), "M0 0L0 0M720 0L720 0");
        assert_eq!(path(&[f32::NAN; 3], 1.0), "");
    }

    #[test]
    fn scales_are_round() {
        for (value, top) in
            [(0.0, 1.0), (0.3, 0.5), (1.0, 1.0), (1.1, 2.0), (37.0, 50.0), (60.0, 100.0)]
        {
            assert!((round_up(value) - top).abs() < top / 1000.0, "{value}: {}", round_up(value));
        }
    }
}
