//! A finding about idle connections as a picture: when requests come, when the server may close, and how long the proxy
//! re-uses the connection.
//!
//! Draws only the numbers that the rule compared.

use maud::{Markup, html};

use super::page::clean;
use crate::{
    judgement::rules::seconds as format,
    lint::report::{Seconds, TimelineReport},
};

/// The width of the picture, in its own units. Text of 11 units can be read on a narrow screen.
const WIDTH: f64 = 360.0;
const LEFT: f64 = 8.0;
const RIGHT: f64 = 14.0;
/// The height of a lane: its label, and what is drawn below it.
const LANE: f64 = 30.0;
const AXIS: f64 = 24.0;
/// The narrowest rectangle: a window can be a single moment.
const NARROWEST: f64 = 2.5;
/// More requests than this are drawn as one bar.
const MAX_TICKS: f64 = 40.0;
/// The longest name that fits.
const MAX_NAME: usize = 28;

/// The picture with its text. `reachable` is whether requests can fail, and `id` begins the ids in it.
pub(crate) fn figure(timeline: &TimelineReport, reachable: bool, id: &str) -> Markup {
    let drawing = Drawing::new(timeline, reachable);
    let (title, desc) = (format!("{id}-title"), format!("{id}-desc"));
    html! {
        figure {
            svg role="img" aria-labelledby=(title) aria-describedby=(desc)
                viewBox={ "0 0 " (WIDTH) " " (round(drawing.height())) } {
                title #(title) { "Timeline of an idle connection" }
                desc #(desc) { (drawing.description()) }
                (drawing.lanes())
            }
            figcaption { (drawing.caption()) }
        }
    }
}

struct Drawing<'a> {
    timeline: &'a TimelineReport,
    reachable: bool,
    /// The time at the right edge, in seconds.
    end: f64,
}

impl<'a> Drawing<'a> {
    fn new(timeline: &'a TimelineReport, reachable: bool) -> Self {
        let [_, to] = timeline.window.map(secs);
        let close = to + secs(timeline.tolerance);
        let (event, factor) = match timeline.idle {
            Some(idle) => (secs(idle).max(close), 1.8),
            None => (close, 12.0),
        };
        // A pool timeout that is much longer ends at the edge; its label has the number.
        let pool = timeline.pool.map_or(0.0, secs).min(event * factor);
        Self { timeline, reachable, end: (event.max(pool) * 1.12).max(0.001) }
    }

    fn height(&self) -> f64 {
        LANE * (count(self.timeline.requests.len()) + 2.0) + AXIS
    }

    fn x(&self, time: f64) -> f64 {
        LEFT + time.clamp(0.0, self.end) / self.end * (WIDTH - LEFT - RIGHT)
    }

    fn window_label(&self) -> String {
        let [from, to] = self.timeline.window.map(|it| format(it.0));
        let window = if from == to { format!("after {from}") } else { format!("after {from} to {to}") };
        if self.timeline.tolerance.0.is_zero() {
            format!("the server closes {window}")
        } else {
            format!("the server closes {window}, ±{}", format(self.timeline.tolerance.0))
        }
    }

    fn pool_label(&self) -> String {
        match self.timeline.pool {
            Some(pool) => format!("the proxy re-uses the connection for up to {}", format(pool.0)),
            None => "the proxy re-uses the HTTP/2 connection while it is open".to_owned(),
        }
    }

    fn request_labels(&self) -> impl Iterator<Item = String> {
        self.timeline.requests.iter().map(|requests| {
            let name = clean(&requests.name);
            let short: String = name.chars().take(MAX_NAME).collect();
            let dots = if short.len() < name.len() { "…" } else { "" };
            format!("{short}{dots}, every {}", format(requests.period.0))
        })
    }

    /// The lanes in words.
    fn description(&self) -> String {
        let mut facts: Vec<String> = self.request_labels().collect();
        if self.timeline.more > 0 {
            facts.push(format!("{} more probes that are not drawn", self.timeline.more));
        }
        facts.extend([self.window_label(), self.pool_label()]);
        if let Some(idle) = self.timeline.idle {
            facts.push(format!("the connection is idle for {} before the next request", format(idle.0)));
        }
        facts.join("; ")
    }

    /// What the picture shows.
    fn caption(&self) -> String {
        let timeline = self.timeline;
        let mut text = "0s is the end of the last response on a connection. ".to_owned();
        let Some(idle) = timeline.idle else {
            let [from, _] = timeline.window;
            let until = timeline.pool.map_or_else(String::new, |pool| format!(" and {}", format(pool.0)));
            text.push_str(&format!(
                "A request between {}{until} can fail: the server may have closed the connection, and the proxy still \
                 re-uses it.",
                format(from.0)
            ));
            return text;
        };
        if self.has_requests_between(secs(idle)) {
            text.push_str("Requests in between use another connection. ");
        }
        text.push_str(&format!("The next request on it comes after {}. ", format(idle.0)));
        text.push_str(&match timeline.pool {
            None => "At that moment the server may close the connection.".to_owned(),
            Some(_) if self.reachable => {
                "At that moment the server may close the connection, and the proxy still re-uses it."
                    .to_owned()
            }
            Some(pool) if secs(pool) < secs(idle) => format!(
                "At that moment the server may close the connection, but the proxy has closed it after {}.",
                format(pool.0)
            ),
            Some(_) => "The server does not close the connection while the proxy re-uses it.".to_owned(),
        });
        if timeline.more > 0 {
            text.push_str(&format!(" {} more probes are not drawn.", timeline.more));
        }
        text
    }

    fn has_requests_between(&self, idle: f64) -> bool {
        self.timeline.requests.iter().any(|requests| {
            let first = self.first_tick(secs(requests.period));
            first > 0.0 && first < idle && requests.period.0 > std::time::Duration::ZERO
        })
    }

    /// The first request after the connection became idle.
    fn first_tick(&self, period: f64) -> f64 {
        let start = secs(self.timeline.start);
        ((start / period).floor() + 1.0) * period - start
    }

    fn lanes(&self) -> Markup {
        let timeline = self.timeline;
        let requests = count(timeline.requests.len());
        let (server, proxy) = (requests * LANE, (requests + 1.0) * LANE);
        let bottom = (requests + 2.0) * LANE;
        let [from, to] = timeline.window.map(secs);
        let tolerance = secs(timeline.tolerance);
        let pool = timeline.pool.map_or(self.end, secs);
        html! {
            @if let Some((from, to)) = self.race() { (self.rect("race", from, to, 0.0, bottom)) }
            @for ((index, label), requests) in (0_u32..).zip(self.request_labels()).zip(&timeline.requests) {
                (label_at(f64::from(index) * LANE, &label))
                (self.ticks(secs(requests.period), f64::from(index) * LANE))
            }
            (label_at(server, &self.window_label()))
            @if tolerance > 0.0 { (self.rect("tolerance", from - tolerance, to + tolerance, server + 15.0, 10.0)) }
            (self.rect("server", from, to, server + 15.0, 10.0))
            (label_at(proxy, &self.pool_label()))
            (self.rect("pool", 0.0, pool, proxy + 15.0, 10.0))
            @if pool > self.end { text.more x=(WIDTH - RIGHT + 2.0) y=(round(proxy + 24.0)) { "…" } }
            @if let Some(idle) = timeline.idle {
                @let x = round(self.x(secs(idle)));
                line.next x1=(x) x2=(x) y1="0" y2=(round(bottom)) {}
            }
            (self.axis(bottom))
        }
    }

    /// The times between which a request can fail.
    fn race(&self) -> Option<(f64, f64)> {
        let [from, to] = self.timeline.window.map(secs);
        let pool = self.timeline.pool.map_or(self.end, secs);
        let tolerance = secs(self.timeline.tolerance);
        match self.timeline.idle {
            None => Some((from, pool)),
            Some(_) if self.reachable => Some((from - tolerance, (to + tolerance).min(pool + tolerance))),
            Some(_) => None,
        }
    }

    fn ticks(&self, period: f64, top: f64) -> Markup {
        let (y1, y2) = (round(top + 15.0), round(top + 25.0));
        let middle = round(top + 20.0);
        let many = period <= 0.0 || self.end / period > MAX_TICKS;
        html! {
            line.base x1=(LEFT) x2=(WIDTH - RIGHT) y1=(middle) y2=(middle) {}
            @if many {
                (self.rect("many", 0.0, self.end, top + 17.0, 6.0))
            } @else {
                @for x in self.tick_positions(period) { line.tick x1=(x) x2=(x) y1=(y1) y2=(y2) {} }
            }
        }
    }

    fn tick_positions(&self, period: f64) -> Vec<f64> {
        let start = secs(self.timeline.start);
        // The connection becomes idle at a request, of this probe or of another.
        let first = if (start / period).fract() == 0.0 { 0.0 } else { self.first_tick(period) };
        std::iter::successors(Some(first), |time| Some(time + period))
            .take_while(|time| *time <= self.end)
            .map(|time| round(self.x(time)))
            .collect()
    }

    fn rect(&self, class: &str, from: f64, to: f64, y: f64, height: f64) -> Markup {
        let left = self.x(from);
        let width = (self.x(to) - left).max(NARROWEST);
        html! { rect.(class) x=(round(left)) y=(round(y)) width=(round(width)) height=(round(height)) {} }
    }

    fn axis(&self, top: f64) -> Markup {
        let step = step(self.end);
        let numbers =
            std::iter::successors(Some(0.0), |time| Some(time + step)).take_while(|time| *time <= self.end);
        html! {
            line.axis x1=(LEFT) x2=(WIDTH - RIGHT) y1=(round(top + 2.0)) y2=(round(top + 2.0)) {}
            @for time in numbers {
                @let x = round(self.x(time));
                line.axis x1=(x) x2=(x) y1=(round(top + 2.0)) y2=(round(top + 6.0)) {}
                text.number x=(x) y=(round(top + 18.0)) { (round_time(time)) "s" }
            }
        }
    }
}

fn label_at(top: f64, text: &str) -> Markup {
    html! { text x=(LEFT) y=(round(top + 11.0)) { (text) } }
}

fn secs(seconds: Seconds) -> f64 {
    seconds.0.as_secs_f64()
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

fn round(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

/// A time of the axis without the digits that adding floating-point numbers leaves.
fn round_time(time: f64) -> f64 {
    (time * 1e6).round() / 1e6
}

/// The distance of the numbers of an axis: 1, 2 or 5 times a power of ten, for at most six numbers.
fn step(end: f64) -> f64 {
    let power = 10_f64.powf((end / 6.0).log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    factors.into_iter().map(|factor| factor * power).find(|step| end / step <= 6.0).unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rstest::rstest;

    use super::*;
    use crate::lint::report::RequestsReport;

    fn seconds(seconds: f64) -> Seconds {
        Seconds(Duration::from_secs_f64(seconds))
    }

    fn timeline(idle: Option<f64>, pool: Option<f64>, periods: &[f64]) -> TimelineReport {
        let request = |period: &f64| RequestsReport { name: "liveness".to_owned(), period: seconds(*period) };
        TimelineReport {
            start: seconds(0.0),
            idle: idle.map(seconds),
            window: [seconds(10.0), seconds(11.0)],
            tolerance: seconds(0.1),
            pool: pool.map(seconds),
            requests: periods.iter().map(request).collect(),
            more: 0,
        }
    }

    #[rstest]
    #[case::race(timeline(Some(10.0), Some(20.0), &[10.0]), true, "and the proxy still re-uses it.")]
    #[case::closed_by_the_proxy(timeline(Some(10.0), Some(3.0), &[10.0]), false, "the proxy has closed it after 3s.")]
    #[case::open_for_longer(timeline(Some(9.9), Some(9.9), &[9.9]), false, "does not close the connection while the proxy")]
    #[case::http2(timeline(Some(10.0), None, &[10.0]), true, "At that moment the server may close the connection.")]
    #[case::any_request(timeline(None, Some(60.0), &[]), true, "A request between 10s and 60s can fail")]
    #[case::coincident(timeline(Some(10.0), Some(20.0), &[2.0, 5.0]), true, "in between use another connection")]
    fn the_caption_is_what_the_numbers_say(
        #[case] timeline: TimelineReport,
        #[case] reachable: bool,
        #[case] expected: &str,
    ) {
        let caption = Drawing::new(&timeline, reachable).caption();
        assert!(caption.contains(expected), "{caption}");
    }

    #[test]
    fn ticks_are_where_the_requests_are() {
        let mut timeline = timeline(Some(12.0), Some(20.0), &[6.0, 4.0]);
        timeline.start = seconds(4.0);
        let drawing = Drawing::new(&timeline, true);
        let positions = |times: &[f64]| times.iter().map(|time| round(drawing.x(*time))).collect::<Vec<_>>();
        let end = drawing.end;
        let until_end =
            |times: &[f64]| positions(&times.iter().copied().filter(|it| *it <= end).collect::<Vec<_>>());
        assert_eq!(drawing.tick_positions(6.0), until_end(&[2.0, 8.0, 14.0, 20.0, 26.0]));
        assert_eq!(drawing.tick_positions(4.0), until_end(&[0.0, 4.0, 8.0, 12.0, 16.0, 20.0, 24.0]));
    }

    #[rstest]
    #[case::a_moment(0.001)]
    #[case::long(86_400.0 * 365.0)]
    #[case::longest(1.8e16)]
    fn any_number_has_a_small_picture(#[case] idle: f64) {
        let mut timeline = timeline(Some(idle), Some(idle / 3.0), &[0.0, 0.001, idle]);
        timeline.window = [seconds(idle), seconds(idle * 2.0)];
        let picture = figure(&timeline, true, "a").into_string();
        assert!(picture.len() < 6_000, "{}", picture.len());
        assert!(!picture.contains("NaN") && !picture.contains("inf"), "{picture}");
    }
}
