//! Colours, where they are wanted. None of them says anything that words do not say, too.

use crate::types::Severity;
use ratatui::style::{Color, Modifier, Style};

/// How to draw.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    pub(super) color: bool,
}

impl Paint {
    fn colored(self, style: Style, color: Color) -> Style {
        if self.color { style.fg(color) } else { style }
    }

    /// A bar across the screen that cannot be missed: reversed, and in a colour.
    pub(super) fn banner(self, color: Color) -> Style {
        let style = Style::new().add_modifier(Modifier::BOLD);
        if self.color {
            style.bg(color).fg(Color::Black)
        } else {
            style.add_modifier(Modifier::REVERSED)
        }
    }

    #[expect(clippy::unused_self, reason = "all styles come from the one paint")]
    pub(super) const fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(super) const fn faint(self) -> Style {
        if self.color {
            Style::new().fg(Color::DarkGray)
        } else {
            Style::new()
        }
    }

    #[expect(clippy::unused_self, reason = "all styles come from the one paint")]
    pub(super) const fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(super) fn passed(self) -> Style {
        self.colored(Style::new(), Color::Green)
    }

    pub(super) fn dropped(self) -> Style {
        self.colored(Style::new(), Color::Red)
    }

    pub(super) fn would(self) -> Style {
        self.colored(Style::new(), Color::Yellow)
    }

    pub(super) fn trouble(self) -> Style {
        self.colored(self.strong(), Color::Yellow)
    }

    pub(super) fn severity(self, severity: Severity) -> Style {
        match severity {
            Severity::High => self.colored(self.strong(), Color::Red),
            Severity::Medium => self.colored(Style::new(), Color::Yellow),
            Severity::Low => Style::new(),
        }
    }
}
