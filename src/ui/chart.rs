//! Line charts as SVG, drawn here so that they work without a script.
//!
//! Limits: a line has at most [`POINTS`] points; coordinates are whole numbers, so that a chart is
//! a few kilobytes.

use crate::ground::clock;
use crate::monitor::rates::{RatePoint, Span};

/// The drawing's width and height in its own units; the style sheet scales it.
pub(super) const WIDTH: u32 = 720;
pub(super) const HEIGHT: u32 = 120;

/// Points of a line, at most: neighbours of a finer span are merged.
const POINTS: usize = 340;

/// Labels below a chart.
const LABELS: u32 = 5;

/// A span of so many seconds or more has labels with days.
const DAYS: u32 = 2 * 86_400;

/// A chart with one scale for all its lines.
pub(super) struct Chart {
    pub(super) lines: Vec<ChartLine>,
    /// Gaps without values: left edge and width.
    pub(super) gaps: Vec<(u32, u32)>,
    /// The value of the upper edge, as text.
    pub(super) top: String,
    /// A description for screen readers.
    pub(super) label: String,
}

/// A line and its place in the legend.
pub(super) struct ChartLine {
    pub(super) name: &'static str,
    pub(super) class: &'static str,
    /// The `d` of a path.
    pub(super) path: String,
    /// The last value, as text; empty if there is none.
    pub(super) now: String,
}

/// A time label below a chart.
pub(super) struct Label {
    /// RFC 3339.
    pub(super) moment: String,
    /// In the zone of this server: the hour, or the day.
    pub(super) text: String,
    /// `time` or `date`, for the script that writes it in the zone of the viewer.
    pub(super) form: &'static str,
}

/// Name, class and values of a line.
pub(super) type Series = (&'static str, &'static str, Vec<f32>);

/// A value for each time; NaN where there was nothing to measure, and where nothing is known at
/// all.
pub(super) struct TimeSeries {
    points: Vec<RatePoint>,
}

impl TimeSeries {
    /// Points of a span; an hour's are merged to one each minute, because points of ten seconds
    /// make a line of spikes.
    pub(super) fn of(points: &[RatePoint], span: Span) -> Self {
        let wanted = if span.step < 60 { (60 / span.step).max(1) as usize } else { 1 };
        let together = wanted.max(points.len().div_ceil(POINTS));
        Self { points: points.chunks(together).map(mean).collect() }
    }

    /// One number of each.
    pub(super) fn series(&self, number: impl Fn(&RatePoint) -> f32) -> Vec<f32> {
        self.points.iter().map(number).collect()
    }

    /// Draws series of these times, on a scale from zero to the greatest value.
    pub(super) fn chart(&self, series: &[Series], words: impl Fn(f32) -> String) -> Chart {
        let known: Vec<bool> = self.points.iter().map(|point| point.messages.is_finite()).collect();
        let greatest = series.iter().flat_map(|(_, _, values)| values.iter().copied());
        let top = round_up(greatest.filter(|value| value.is_finite()).fold(0.0, f32::max));
        let last = |values: &[f32]| values.last().copied().filter(|value| value.is_finite());
        let lines: Vec<ChartLine> = series
            .iter()
            .map(|(name, class, values)| ChartLine {
                name,
                class,
                path: path(values, &known, top),
                now: last(values).map(&words).unwrap_or_default(),
            })
            .collect();
        let told = |line: &ChartLine| {
            format!("{} {}", line.name, if line.now.is_empty() { "not known" } else { &line.now })
        };
        let label = lines.iter().map(told).collect::<Vec<_>>().join(", ");
        Chart { lines, gaps: gaps(&known), top: words(top), label }
    }
}

/// Times from the left edge of a chart to its right one, which is `end`.
pub(super) fn labels(span: Span, end: u32) -> Vec<Label> {
    let length = span.step * u32::try_from(span.steps).unwrap_or(u32::MAX);
    let by_days = length >= DAYS;
    let label = |place: u32| {
        let ago = u64::from(length) * u64::from(LABELS - 1 - place) / u64::from(LABELS - 1);
        let moment = clock::rfc3339(end.saturating_sub(u32::try_from(ago).unwrap_or(u32::MAX)));
        let text = moment.get(if by_days { 5..10 } else { 11..16 }).unwrap_or_default().to_owned();
        Label { moment, text, form: if by_days { "date" } else { "time" } }
    };
    (0..LABELS).map(label).collect()
}

/// Merges points: the mean of the rates, the queue as it was at the end, and the highest of the
/// delays.
fn mean(points: &[RatePoint]) -> RatePoint {
    let of = |number: fn(&RatePoint) -> f32| {
        let known: Vec<f32> =
            points.iter().map(number).filter(|number| number.is_finite()).collect();
        if known.is_empty() { f32::NAN } else { known.iter().sum::<f32>() / known.len() as f32 }
    };
    let last = |number: fn(&RatePoint) -> f32| {
        points.iter().rev().map(number).find(|number| number.is_finite()).unwrap_or(f32::NAN)
    };
    let most = |number: fn(&RatePoint) -> f32| points.iter().map(number).fold(f32::NAN, f32::max);
    RatePoint {
        accepted: of(|point| point.accepted),
        delivered: of(|point| point.delivered),
        deferred: of(|point| point.deferred),
        bounced: of(|point| point.bounced),
        refused: of(|point| point.refused),
        messages: last(|point| point.messages),
        latency_p50: of(|point| point.latency_p50),
        latency_p99: most(|point| point.latency_p99),
    }
}

/// 1, 2 or 5 times a power of ten: a readable scale.
fn round_up(value: f32) -> f32 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let magnitude = 10f32.powf(value.log10().floor());
    let step = [1.0, 2.0, 5.0].into_iter().find(|step| step * magnitude >= value).unwrap_or(10.0);
    step * magnitude
}

/// The x coordinate of a time.
fn x_of(place: usize, moments: usize) -> f32 {
    place as f32 / moments.saturating_sub(1).max(1) as f32 * WIDTH as f32
}

/// A line through all known values: where nothing was delivered no delay could be measured, and the
/// line continues to the next value.
fn path(values: &[f32], known: &[bool], top: f32) -> String {
    let mut path = String::new();
    let mut before: Option<(u32, u32, bool)> = None;
    // A point without neighbours would be invisible: a line of zero length with round ends is a
    // dot.
    let dot = |path: &mut String, before: Option<(u32, u32, bool)>| {
        if let Some((x, y, true)) = before {
            path.push_str(&format!("L{x} {y}"));
        }
    };
    for (place, (value, known)) in values.iter().zip(known).enumerate() {
        if !known {
            dot(&mut path, before.take());
            continue;
        }
        if !value.is_finite() {
            continue;
        }
        #[allow(clippy::cast_possible_truncation, reason = "from nought to width and height")]
        let (x, y) = (
            x_of(place, values.len()).round() as u32,
            (HEIGHT as f32 * (1.0 - (value / top).clamp(0.0, 1.0))).round() as u32,
        );
        path.push_str(&format!("{}{x} {y}", if before.is_some() { "L" } else { "M" }));
        before = Some((x, y, before.is_none()));
    }
    dot(&mut path, before);
    path
}

/// Ranges without known values, from the last known time to the next one.
fn gaps(known: &[bool]) -> Vec<(u32, u32)> {
    let mut gaps = Vec::new();
    let mut place = 0;
    while place < known.len() {
        let length = known[place..].iter().take_while(|known| !**known).count();
        if length > 0 {
            let from = x_of(place.saturating_sub(1), known.len());
            let to = x_of((place + length).min(known.len() - 1), known.len());
            #[allow(clippy::cast_possible_truncation, reason = "from nought to width")]
            gaps.push((from.round() as u32, (to - from).round() as u32));
        }
        place += length + 1;
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::rates::SPANS;

    #[test]
    fn a_line_goes_from_edge_to_edge_with_gaps_where_nothing_is_known() {
        let all = [true; 3];
        assert_eq!(path(&[0.0, 5.0, 10.0], &all, 10.0), "M0 120L360 60L720 0");
        let nan = f32::NAN;
        assert_eq!(path(&[1.0, nan, 1.0], &[true, false, true], 1.0), "M0 0L0 0M720 0L720 0");
        assert_eq!(path(&[1.0, nan, 1.0], &all, 1.0), "M0 0L720 0", "nothing was delivered");
        assert_eq!(path(&[nan, 1.0, nan], &all, 1.0), "M360 0L360 0");
        assert_eq!(path(&[nan; 3], &all, 1.0), "");
    }

    #[test]
    fn what_is_not_known_is_marked() {
        assert_eq!(gaps(&[true; 3]), []);
        assert_eq!(gaps(&[false; 3]), [(0, 720)]);
        assert_eq!(gaps(&[false, true, true, false, true]), [(0, 180), (360, 360)]);
        assert_eq!(gaps(&[]), []);
    }

    #[test]
    fn an_hour_has_a_point_a_minute_and_names_its_moments() {
        let point = |accepted| RatePoint {
            accepted,
            delivered: 0.0,
            deferred: 0.0,
            bounced: 0.0,
            refused: 0.0,
            messages: accepted,
            latency_p50: f32::NAN,
            latency_p99: f32::NAN,
        };
        let points: Vec<RatePoint> = (0..360u16).map(|n| point(f32::from(n % 6))).collect();
        let moments = TimeSeries::of(&points, SPANS[0]);
        assert_eq!(moments.series(|point| point.accepted), [2.5; 60]);
        assert_eq!(moments.series(|point| point.messages), [5.0; 60], "as it was at the end");
        assert_eq!(TimeSeries::of(&points[..288], SPANS[1]).points.len(), 288);
        let labels = labels(SPANS[0], 1_800_000_000);
        assert_eq!(labels.len(), 5);
        assert!(labels.iter().all(|label| label.text.len() == 5 && label.form == "time"));
        assert_eq!(clock::from_rfc3339(&labels[4].moment), Some(1_800_000_000));
        assert_eq!(clock::from_rfc3339(&labels[0].moment), Some(1_800_000_000 - 3600));
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
