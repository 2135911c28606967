//! From panels to SVG, with `plotters`.

use gristmill_core::{Code, Error, Result};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Bar, Group, Panel, Series, short};

const INK: RGBColor = RGBColor(38, 42, 51);
const SOFT: RGBColor = RGBColor(110, 116, 128);
const GRID: RGBColor = RGBColor(233, 235, 239);
const ACCENT: RGBColor = RGBColor(32, 104, 178);
const PALE: RGBColor = RGBColor(183, 208, 234);
const MARK: RGBColor = RGBColor(217, 95, 2);
/// Of curves, from dark to light.
const RAMP: [RGBColor; 6] = [
    RGBColor(68, 1, 84),
    RGBColor(65, 68, 135),
    RGBColor(42, 120, 142),
    RGBColor(34, 168, 132),
    RGBColor(122, 209, 81),
    RGBColor(210, 190, 20),
];

const WIDTH: u32 = 420;
const HEIGHT: u32 = 340;
const HEAD: u32 = 46;
const LABELS: i32 = 118;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

/// Draws rows of panels under a title.
///
/// # Errors
/// A row without panels, or numbers that are not finite.
pub fn svg(title: &str, rows: &[Vec<Panel>]) -> Result<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    if columns == 0 {
        return Err(Error::new(Code::EmptyInput, "there is nothing to draw"));
    }
    if !rows.iter().flatten().all(Panel::finite) {
        return Err(Error::new(Code::InvalidValue, "a number to draw is not finite"));
    }
    let size = (WIDTH * columns as u32, HEAD + HEIGHT * rows.len() as u32);
    let mut text = String::new();
    paint(&mut text, size, title, rows)
        .map_err(|e| Error::new(Code::Internal, format!("a drawing failed: {e}")))?;
    Ok(text)
}

fn paint(text: &mut String, size: (u32, u32), title: &str, rows: &[Vec<Panel>]) -> Drawn {
    let root = SVGBackend::with_string(text, size).into_drawing_area();
    root.fill(&WHITE)?;
    write(&root, (18, 14), title, 19, INK, FontStyle::Bold, HPos::Left)?;
    let (_, body) = root.split_vertically(HEAD);
    let columns = size.0 / WIDTH;
    for (r, row) in rows.iter().enumerate() {
        for (c, panel) in row.iter().enumerate() {
            let x = c as i32 * WIDTH as i32;
            let y = r as i32 * HEIGHT as i32;
            // A panel alone in its row has the row.
            let width = if row.len() == 1 { columns * WIDTH } else { WIDTH };
            panel.paint(&body.clone().shrink((x, y), (width, HEIGHT)))?;
        }
    }
    root.present()?;
    Ok(())
}

fn font(size: i32, color: RGBColor, style: FontStyle, h: HPos) -> TextStyle<'static> {
    let font = FontDesc::new(FontFamily::SansSerif, f64::from(size), style);
    TextStyle { font, color: color.to_backend_color(), pos: Pos::new(h, VPos::Top) }
}

fn write(
    area: &Area<'_>,
    at: (i32, i32),
    text: &str,
    size: i32,
    color: RGBColor,
    style: FontStyle,
    h: HPos,
) -> Drawn {
    area.draw_text(text, &font(size, color, style, h), at)?;
    Ok(())
}

/// The title of a panel and what is said of it.
fn head(area: &Area<'_>, title: &str, note: &str) -> Drawn {
    write(area, (18, 6), title, 14, INK, FontStyle::Bold, HPos::Left)?;
    write(area, (18, 25), note, 12, SOFT, FontStyle::Normal, HPos::Left)
}

/// The least range with some room around all values.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    let room = (0.06 * (high - low)).max(1e-9 + 1e-4 * high.abs());
    (low - room, high + room)
}

/// A linear axis with ticks at round numbers, a few of them.
struct Axis {
    range: (f64, f64),
    step: f64,
    ticks: Vec<f64>,
}

impl Axis {
    fn of((low, high): (f64, f64)) -> Self {
        let rough = (high - low) / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|f| f * power).find(|s| *s >= rough).unwrap_or(rough);
        let first = (low / step).ceil() as i64;
        let ticks = (first..first + 12).map(|i| i as f64 * step).take_while(|t| *t <= high).collect();
        Self { range: (low, high), step, ticks }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value - self.range.0) / (self.range.1 - self.range.0);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.range.0..self.range.1
    }
}

impl plotters::coord::ranged1d::ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        let digits = (-(self.step.log10() + 1e-9).floor()).clamp(0.0, 9.0) as usize;
        // Steps such as 0.25 want a digit more than their power of ten says.
        let scaled = self.step * 10f64.powi(digits as i32);
        let digits = digits + usize::from((scaled - scaled.round()).abs() > 1e-6);
        if value.abs() >= 1e6 { short(*value) } else { format!("{:.*}", digits, value + 0.0) }
    }
}

impl Panel {
    fn finite(&self) -> bool {
        let all = |v: &[f64]| v.iter().all(|x| x.is_finite());
        let pairs = |v: &[(f64, f64)]| v.iter().all(|(x, y)| x.is_finite() && y.is_finite());
        match self {
            Self::Agreement { predicted, measured, .. } => all(predicted) && all(measured),
            Self::Bars { bars, .. } => bars.iter().all(|b| all(&[b.before, b.value, b.low, b.high])),
            Self::Groups { groups, .. } => groups.iter().all(|g| all(&g.values)),
            Self::Curves { series, .. } => series.iter().all(|s| pairs(&s.curve) && pairs(&s.points)),
            Self::Residuals { predicted, residuals, .. } => all(predicted) && all(residuals),
        }
    }

    fn paint(&self, area: &Area<'_>) -> Drawn {
        match self {
            Self::Agreement { title, note, predicted, measured } => {
                head(area, title, note)?;
                agreement(area, predicted, measured)
            }
            Self::Bars { title, bars } => {
                head(area, title, "bar: share, line: 5% to 95% of the bags, orange: before")?;
                self::bars(area, bars)
            }
            Self::Groups { title, axis, groups } => {
                head(area, title, "dot: one seed, line: their mean")?;
                self::groups(area, axis, groups)
            }
            Self::Curves { title, across, logarithmic, series } => {
                head(area, title, "dots: measured")?;
                curves(area, across, *logarithmic, series)
            }
            Self::Residuals { title, note, predicted, residuals } => {
                head(area, title, note)?;
                self::residuals(area, predicted, residuals)
            }
        }
    }
}

/// A chart with a grid and named axes.
macro_rules! chart {
    ($area:expr, $x:expr, $y:expr, $left:expr, $across:expr, $up:expr, $labels:expr) => {{
        let mut chart = ChartBuilder::on($area)
            .margin_top(46)
            .margin_right(24)
            .margin_bottom(8)
            .margin_left(8)
            .x_label_area_size(38)
            .y_label_area_size($left)
            .build_cartesian_2d($x, $y)?;
        let mut mesh = chart.configure_mesh();
        mesh.bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(SOFT)
            .x_desc($across)
            .y_desc($up)
            .label_style(font(12, SOFT, FontStyle::Normal, HPos::Center))
            .axis_desc_style(font(12, INK, FontStyle::Normal, HPos::Center));
        if !$labels {
            mesh.disable_y_mesh().disable_y_axis();
        }
        mesh.draw()?;
        chart
    }};
}

fn agreement(area: &Area<'_>, predicted: &[f64], measured: &[f64]) -> Drawn {
    let both = range(predicted.iter().chain(measured).copied());
    let chart = chart!(area, Axis::of(both), Axis::of(both), 58, "predicted", "measured", true);
    let plane = chart.plotting_area();
    plane.draw(&PathElement::new([(both.0, both.0), (both.1, both.1)], SOFT.stroke_width(1)))?;
    for (p, m) in predicted.iter().zip(measured) {
        plane.draw(&Circle::new((*p, *m), 3, ACCENT.mix(0.55).filled()))?;
    }
    Ok(())
}

/// Names on the left of rows that are numbered from the top.
fn names<'a>(area: &Area<'_>, labels: impl ExactSizeIterator<Item = &'a str>) -> Drawn {
    let (_, height) = area.dim_in_pixel();
    let (top, bottom) = (46.0, f64::from(height) - 46.0);
    let step = (bottom - top) / labels.len() as f64;
    for (i, label) in labels.enumerate() {
        let short: String = match label.chars().count() {
            0..=17 => label.into(),
            _ => label.chars().take(16).chain(['…']).collect(),
        };
        let y = top + step * (i as f64 + 0.5);
        write(area, (LABELS + 2, y as i32 - 6), &short, 12, INK, FontStyle::Normal, HPos::Right)?;
    }
    Ok(())
}

fn bars(area: &Area<'_>, bars: &[Bar]) -> Drawn {
    let most = bars.iter().flat_map(|b| [b.value, b.high, b.before]).fold(0.0, f64::max);
    let n = bars.len() as f64;
    let chart =
        chart!(area, Axis::of((0.0, 1.08 * most.max(1e-6))), Axis::of((0.0, n)), LABELS, "share", "", false);
    names(area, bars.iter().map(|b| b.label.as_str()))?;
    let plane = chart.plotting_area();
    for (i, bar) in bars.iter().enumerate() {
        let y = n - i as f64 - 0.5;
        plane.draw(&Rectangle::new([(0.0, y - 0.3), (bar.value, y + 0.3)], PALE.filled()))?;
        plane.draw(&PathElement::new([(bar.low, y), (bar.high, y)], ACCENT.stroke_width(2)))?;
        for end in [bar.low, bar.high] {
            plane.draw(&PathElement::new([(end, y - 0.14), (end, y + 0.14)], ACCENT.stroke_width(2)))?;
        }
        let at = bar.before;
        plane.draw(&PathElement::new([(at, y - 0.36), (at, y + 0.36)], MARK.stroke_width(2)))?;
    }
    Ok(())
}

fn groups(area: &Area<'_>, axis: &str, groups: &[Group]) -> Drawn {
    let n = groups.len() as f64;
    let all = range(groups.iter().flat_map(|g| g.values.iter().copied()));
    let chart = chart!(area, Axis::of(all), Axis::of((0.0, n)), LABELS, axis, "", false);
    names(area, groups.iter().map(|g| g.label.as_str()))?;
    let plane = chart.plotting_area();
    for (i, group) in groups.iter().enumerate() {
        let y = n - i as f64 - 0.5;
        let color = if i == 0 { ACCENT } else { SOFT };
        plane.draw(&PathElement::new([(all.0, y), (all.1, y)], GRID.stroke_width(1)))?;
        let mean = group.values.iter().sum::<f64>() / group.values.len() as f64;
        plane.draw(&PathElement::new([(mean, y - 0.28), (mean, y + 0.28)], color.stroke_width(2)))?;
        for value in &group.values {
            plane.draw(&Circle::new((*value, y), 4, color.mix(0.6).filled()))?;
        }
    }
    Ok(())
}

fn curves(area: &Area<'_>, across: &str, logarithmic: bool, series: &[Series]) -> Drawn {
    let points = || series.iter().flat_map(|s| s.curve.iter().chain(&s.points));
    let scale = |x: f64| if logarithmic { x.log10() } else { x };
    let x = range(points().map(|p| scale(p.0)));
    let y = range(points().map(|p| p.1));
    // Room for the legend above the curves.
    let plot = f64::from(HEIGHT) - 92.0;
    let legend = (15.0 * series.len() as f64 + 10.0).min(0.6 * plot);
    let y = (y.0, y.1 + (y.1 - y.0) * legend / (plot - legend));
    let name = if logarithmic { format!("log₁₀ {across}") } else { across.to_owned() };
    let chart = chart!(area, Axis::of(x), Axis::of(y), 58, name, "loss", true);
    let plane = chart.plotting_area();
    let (width, _) = area.dim_in_pixel();
    for (i, s) in series.iter().enumerate() {
        let color = RAMP[i * (RAMP.len() - 1) / (series.len() - 1).max(1)];
        let curve: Vec<(f64, f64)> = s.curve.iter().map(|p| (scale(p.0), p.1)).collect();
        plane.draw(&PathElement::new(curve, color.stroke_width(2)))?;
        for p in &s.points {
            plane.draw(&Circle::new((scale(p.0), p.1), 3, color.mix(0.6).filled()))?;
        }
        let top = 52 + 15 * i as i32;
        let right = width as i32 - 26;
        write(area, (right - 22, top), &s.label, 11, INK, FontStyle::Normal, HPos::Right)?;
        let line = [(right - 16, top + 6), (right, top + 6)];
        area.draw(&PathElement::new(line, color.stroke_width(3)))?;
    }
    Ok(())
}

fn residuals(area: &Area<'_>, predicted: &[f64], residuals: &[f64]) -> Drawn {
    let x = range(predicted.iter().copied());
    let most = residuals.iter().map(|r| r.abs()).fold(1e-9, f64::max) * 1.1;
    let chart = chart!(
        area,
        Axis::of(x),
        Axis::of((-most, most)),
        66,
        "predicted loss",
        "predicted - measured",
        true
    );
    let plane = chart.plotting_area();
    plane.draw(&PathElement::new([(x.0, 0.0), (x.1, 0.0)], SOFT.stroke_width(1)))?;
    for (p, r) in predicted.iter().zip(residuals) {
        plane.draw(&Circle::new((*p, *r), 3, ACCENT.mix(0.5).filled()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panels() -> Vec<Panel> {
        let bar = Bar { label: "a <tag> & more".into(), before: 0.2, value: 0.7, low: 0.5, high: 0.8 };
        let group = Group { label: "optimum".into(), values: vec![3.1, 3.2] };
        vec![
            Panel::agreement("runs", &[1.0, 2.0, 4.0], &[1.1, 2.2, 3.9]),
            Panel::Bars { title: "mixture".into(), bars: vec![bar] },
            Panel::Groups { title: "check".into(), axis: "loss".into(), groups: vec![group] },
        ]
    }

    #[test]
    fn marks_are_where_the_numbers_are() {
        let text = svg("Title", &[panels()]).unwrap();
        assert_eq!(text.matches("<circle").count(), 5, "three runs and two seeds");
        // The bar is 0.7 of an axis that ends at 1.08 times 0.8, over the width of the plot.
        let plot = f64::from(WIDTH) - 8.0 - 24.0 - f64::from(LABELS);
        let expected = 0.7 / (1.08 * 0.8) * plot;
        let bar = text.lines().find(|line| line.contains("#B7D0EA")).unwrap();
        let width: f64 = bar.split("width=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
        assert!((width - expected).abs() <= 1.0, "{width} {expected}");
        assert!(text.contains("a &lt;tag&gt; &amp; more"), "names cannot break out of the text");
    }

    #[test]
    fn refuses_what_cannot_be_drawn() {
        assert_eq!(svg("", &[]).unwrap_err().code(), Code::EmptyInput);
        let nan = Panel::agreement("", &[f64::NAN], &[1.0]);
        assert_eq!(svg("", &[vec![nan]]).unwrap_err().code(), Code::InvalidValue);
        let constant = Panel::agreement("", &[1.0, 1.0], &[1.0, 1.0]);
        assert!(svg("", &[vec![constant]]).is_ok());
    }

    #[test]
    fn ticks_are_round_and_inside() {
        let axis = Axis::of((0.13, 0.97));
        assert_eq!(axis.ticks.len(), 4);
        assert!(axis.ticks.iter().zip([0.2, 0.4, 0.6, 0.8]).all(|(a, b)| (a - b).abs() < 1e-12));
        use plotters::coord::ranged1d::ValueFormatter;
        assert_eq!(axis.format_ext(&axis.ticks[1]), "0.4");
        assert_eq!(Axis::of((0.0, 1.2)).format_ext(&0.25), "0.25", "a step of 0.25 wants two digits");
        assert!(Axis::of((7.0, 7.001)).ticks.iter().all(|t| (7.0..=7.001).contains(t)));
    }
}
