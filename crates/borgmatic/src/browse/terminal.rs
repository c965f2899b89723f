//! The terminal: taken over as a whole, given back as it was when this is dropped.

use std::io::{self, Stdout, Write};
use std::time::Duration;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::style::{Attribute, Print, SetAttribute};
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{execute, queue};

use super::model::Key;
use super::screen::{Look, Row};

/// A terminal that shows rows and gives keys.
pub struct Terminal {
    stdout: Stdout,
    /// What it shows.
    shown: Vec<Row>,
}

impl Terminal {
    /// Takes the terminal over.
    pub fn begin() -> io::Result<Self> {
        enable_raw_mode()?;
        let mut terminal = Self {
            stdout: io::stdout(),
            shown: Vec::new(),
        };
        execute!(terminal.stdout, EnterAlternateScreen, Hide)?;
        Ok(terminal)
    }

    /// Columns and rows.
    pub fn size(&self) -> (u16, u16) {
        size().unwrap_or((80, 24))
    }

    /// Shows these rows: what changed is written.
    pub fn draw(&mut self, rows: &[Row]) -> io::Result<()> {
        let all = rows.len() != self.shown.len();
        for (at, row) in (0..).zip(rows) {
            if !all && self.shown.get(usize::from(at)) == Some(row) {
                continue;
            }
            let (text, look) = row;
            let attribute = match look {
                Look::Plain => Attribute::Reset,
                Look::Bold => Attribute::Bold,
                Look::Reversed => Attribute::Reverse,
                Look::Dim => Attribute::Dim,
            };
            queue!(self.stdout, MoveTo(0, at), SetAttribute(attribute))?;
            queue!(self.stdout, Print(text), SetAttribute(Attribute::Reset))?;
        }
        self.shown = rows.to_vec();
        self.stdout.flush()
    }

    /// Waits a moment for a key.
    pub fn key(&mut self, patience: Duration) -> io::Result<Option<Key>> {
        if !event::poll(patience)? {
            return Ok(None);
        }
        Ok(match event::read()? {
            Event::Key(pressed) => key(pressed),
            Event::Resize(..) => {
                // Nothing is where it was.
                self.shown.clear();
                None
            }
            _ => None,
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = execute!(self.stdout, Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}

/// What a key means.
fn key(pressed: KeyEvent) -> Option<Key> {
    if pressed.kind == KeyEventKind::Release {
        return None;
    }
    Some(match pressed.code {
        KeyCode::Char('c') if pressed.modifiers.contains(KeyModifiers::CONTROL) => Key::Quit,
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Enter | KeyCode::Right => Key::Enter,
        KeyCode::Left | KeyCode::Esc => Key::Back,
        KeyCode::Backspace => Key::Erase,
        _ => return None,
    })
}
