//! Draws what is shown on a terminal.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Row, Table, TableState};

use super::view::{
    ALERTS, FLOWS, SERVICES, TOOLS, Tool, View, alert_cells, flow_cells, headline, service_cells, tool_cells,
};

/// The column by which tools are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Rate,
    Errors,
    Slow,
    Name,
}

impl Sort {
    fn next(self) -> Self {
        match self {
            Self::Rate => Self::Errors,
            Self::Errors => Self::Slow,
            Self::Slow => Self::Name,
            Self::Name => Self::Rate,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Rate => "calls/s",
            Self::Errors => "errors",
            Self::Slow => "p99",
            Self::Name => "name",
        }
    }

    fn order(self, a: &Tool, b: &Tool) -> std::cmp::Ordering {
        let (left, right) = (&a.traffic, &b.traffic);
        match self {
            // As the view has them.
            Self::Rate => std::cmp::Ordering::Equal,
            Self::Errors => right.error_share.total_cmp(&left.error_share),
            Self::Slow => right.p99_ms.unwrap_or(-1.0).total_cmp(&left.p99_ms.unwrap_or(-1.0)),
            Self::Name => a.name.cmp(&b.name),
        }
    }
}

/// What the reader chose.
pub(super) struct Screen {
    colours: bool,
    paused: bool,
    sort: Sort,
    tools: TableState,
    /// Why the last look failed.
    pub(super) trouble: Option<String>,
}

impl Screen {
    pub(super) fn new(colours: bool) -> Self {
        Self { colours, paused: false, sort: Sort::Rate, tools: TableState::default(), trouble: None }
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Does what a key stands for.
    pub(super) fn key(&mut self, key: &KeyEvent) {
        if key.kind != KeyEventKind::Press {
            return;
        }
        match key.code {
            KeyCode::Char('p') => self.paused = !self.paused,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Down | KeyCode::Char('j') => self.tools.select_next(),
            KeyCode::Up | KeyCode::Char('k') => self.tools.select_previous(),
            KeyCode::PageDown => self.tools.scroll_down_by(10),
            KeyCode::PageUp => self.tools.scroll_up_by(10),
            KeyCode::Home => self.tools.select_first(),
            _ => {}
        }
    }

    /// Draws everything: what needs a person (alerts, flows) has the room it needs, the tools have the rest.
    pub(super) fn draw(&mut self, frame: &mut Frame<'_>, view: &View) {
        let rows = |count: usize, most: usize| {
            let lines = if count == 0 { 0 } else { count.min(most) + 2 };
            Constraint::Length(u16::try_from(lines).unwrap_or(u16::MAX))
        };
        let areas = Layout::vertical([
            Constraint::Length(2),
            rows(view.alerts.len(), 5),
            rows(view.services.len(), 20),
            rows(view.flows.len(), 8),
            Constraint::Min(3),
            Constraint::Length(1),
        ]);
        let [head, alerts, services, flows, tools, foot] = areas.areas(frame.area());
        let style = match (&self.trouble, view.firing()) {
            (None, 0) => Style::new().add_modifier(Modifier::BOLD),
            _ => self.bad().add_modifier(Modifier::BOLD),
        };
        let line =
            self.trouble.as_ref().map_or_else(|| headline(view), |trouble| format!("no answer: {trouble}"));
        frame.render_widget(Line::styled(line, style), head);
        let alert_rows = view.alerts.iter().map(|alert| (alert_cells(alert), alert.state == "firing"));
        self.table(frame, alerts, ALERTS, [26, 8, 40, 0], alert_rows);
        let service_rows = view.services.iter().map(|service| {
            let bad =
                service.state != "up" || !service.breakers.is_empty() || service.traffic.error_share > 0.05;
            (service_cells(service), bad)
        });
        self.table(frame, services, SERVICES, [24, 8, 9, 7, 9, 9, 10, 5, 0], service_rows);
        let flow_rows = view.flows.iter().map(|flow| (flow_cells(flow), flow.status == "stuck"));
        self.table(frame, flows, FLOWS, [30, 13, 36, 0], flow_rows);
        self.draw_tools(frame, tools, view);
        let paused = if self.paused { "paused" } else { "live" };
        let keys = format!("{paused}  q quit  p pause  s sort: {}  \u{2191}\u{2193} move", self.sort.name());
        frame.render_widget(Line::styled(keys, Style::new().add_modifier(Modifier::DIM)), foot);
    }

    fn table<const N: usize>(
        &self,
        frame: &mut Frame<'_>,
        area: Rect,
        head: [&'static str; N],
        widths: [u16; N],
        rows: impl Iterator<Item = ([String; N], bool)>,
    ) {
        let rows = rows.map(|(cells, bad)| Row::new(cells.map(Cell::from)).style(self.state(bad)));
        frame.render_widget(columns(head, widths, rows.collect()), area);
    }

    fn draw_tools(&mut self, frame: &mut Frame<'_>, area: Rect, view: &View) {
        let mut tools: Vec<&Tool> = view.tools.iter().collect();
        tools.sort_by(|a, b| self.sort.order(a, b));
        let row = |tool: &&Tool| {
            Row::new(tool_cells(tool).map(Cell::from)).style(self.state(tool.traffic.error_share > 0.05))
        };
        let table = columns(TOOLS, [48, 10, 9, 7, 9, 0], tools.iter().map(row).collect())
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
        frame.render_stateful_widget(table, area, &mut self.tools);
    }

    fn state(&self, bad: bool) -> Style {
        if bad { self.bad() } else { Style::new() }
    }

    /// Without colours what is bad is bold, and its state says it in words.
    fn bad(&self) -> Style {
        if self.colours { Style::new().fg(Color::Red) } else { Style::new().add_modifier(Modifier::BOLD) }
    }
}

/// A table with its head; a column of width 0 takes what is left.
fn columns<const N: usize>(
    head: [&'static str; N],
    widths: [u16; N],
    rows: Vec<Row<'static>>,
) -> Table<'static> {
    let widths = widths.map(|width| if width == 0 { Constraint::Min(8) } else { Constraint::Length(width) });
    let head = Row::new(head.map(Cell::from)).style(Style::new().add_modifier(Modifier::UNDERLINED));
    Table::new(rows, widths).header(head)
}

#[cfg(test)]
mod tests {
    use crossterm::event::KeyModifiers;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::view::{Alert, Service, Traffic};
    use super::*;

    fn text(screen: &mut Screen, view: &View) -> String {
        let mut terminal = Terminal::new(TestBackend::new(120, 20)).unwrap();
        terminal.draw(|frame| screen.draw(frame, view)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y: u16| (0..120).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..20).map(|y| line(y).trim_end().to_owned() + "\n").collect()
    }

    fn tool(name: &str, rate: f64, error_share: f64) -> Tool {
        Tool { name: name.to_owned(), traffic: Traffic { calls: 7, rate, error_share, ..Traffic::default() } }
    }

    #[test]
    fn everything_has_its_place_and_tools_are_sorted_as_asked() {
        let service = Service {
            id: "shop-stock".to_owned(),
            state: "down".to_owned(),
            traffic: Traffic::default(),
            running: 3,
            waiting: 1,
            limit: Some(8),
            breakers: vec!["listItems open".to_owned()],
            cause: "refused".to_owned(),
        };
        let alert = Alert {
            name: "TrunklineServiceDown".to_owned(),
            state: "firing".to_owned(),
            about: "service=shop-stock".to_owned(),
            summary: "It is down".to_owned(),
        };
        let view = View {
            server: "http://127.0.0.1:7400".to_owned(),
            services: vec![service],
            tools: vec![tool("a/fine", 9.0, 0.0), tool("a/broken", 1.0, 0.5)],
            alerts: vec![alert],
            ..View::default()
        };
        let mut screen = Screen::new(false);
        let drawn = text(&mut screen, &view);
        for part in ["alerts 1", "TrunklineServiceDown", "3/8", "listItems open, refused", "sort: calls/s"] {
            assert!(drawn.contains(part), "{part}\n{drawn}");
        }
        assert!(drawn.find("a/fine") < drawn.find("a/broken"), "{drawn}");
        screen.key(&KeyEvent::new(KeyCode::Char('s'), KeyModifiers::NONE));
        let drawn = text(&mut screen, &view);
        assert!(drawn.find("a/fine") > drawn.find("a/broken"), "{drawn}");
        screen.trouble = Some("connection refused".to_owned());
        assert!(text(&mut screen, &view).contains("no answer: connection refused"));
    }
}
