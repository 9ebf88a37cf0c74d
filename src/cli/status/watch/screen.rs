//! The terminal: another screen while somebody watches, and the one that was there afterwards.

use std::io::{self, IsTerminal, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Of a terminal that does not say.
const COLUMNS: u16 = 80;
const ROWS: u16 = 24;

/// Another screen, without the cursor (xterm's control sequences: <https://invisible-island.net/xterm/ctlseqs/ctlseqs.html>).
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    Plain,
    Bold,
    Dim,
    Good,
    Warning,
    Bad,
}

/// Pieces of one line, each in its colour.
pub(super) type Line = Vec<(Paint, String)>;

/// Left when it is dropped.
pub(super) struct Screen {
    /// What the keyboard was set to.
    keyboard: Option<Termios>,
    has_colours: bool,
}

pub(super) fn is_suitable() -> bool {
    io::stdout().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

pub(super) fn width() -> usize {
    usize::from(size().0)
}

fn size() -> (u16, u16) {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
        _ => (COLUMNS, ROWS),
    }
}

impl Screen {
    pub(super) fn enter() -> io::Result<Self> {
        // Keys come one by one and are not shown; Ctrl-C and Ctrl-Z stay what they are.
        let keyboard = tcgetattr(io::stdin()).ok();
        if let Some(keyboard) = &keyboard {
            let mut quiet = keyboard.clone();
            quiet.local_modes -= LocalModes::ECHO | LocalModes::ICANON;
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &quiet);
        }
        // <https://no-color.org>
        let has_colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let screen = Self { keyboard, has_colours };
        write(ENTER)?;
        Ok(screen)
    }

    /// In place and at once, so that nothing flickers.
    pub(super) fn draw(&self, lines: &[Line]) -> io::Result<()> {
        let (columns, rows) = size();
        write(&self.frame(lines, usize::from(columns), usize::from(rows)))
    }

    fn frame(&self, lines: &[Line], columns: usize, rows: usize) -> String {
        let mut frame = HOME.to_owned();
        for (index, line) in lines.iter().take(rows).enumerate() {
            if index > 0 {
                frame.push_str("\r\n");
            }
            self.line(&mut frame, line, columns);
            frame.push_str(CLEAR_LINE);
        }
        frame.push_str(CLEAR_BELOW);
        frame
    }

    fn line(&self, frame: &mut String, line: &Line, columns: usize) {
        let mut left = columns;
        for (paint, text) in line {
            // AWS's words and paths must not write on the terminal.
            let shown: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).take(left).collect();
            left -= shown.chars().count();
            match paint.code().filter(|_| self.has_colours) {
                Some(code) => frame.push_str(&format!("\x1b[{code}m{shown}\x1b[0m")),
                None => frame.push_str(&shown),
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = write(LEAVE);
        if let Some(keyboard) = &self.keyboard {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, keyboard);
        }
    }
}

impl Paint {
    fn code(self) -> Option<u8> {
        match self {
            Self::Plain => None,
            Self::Bold => Some(1),
            Self::Dim => Some(2),
            Self::Good => Some(32),
            Self::Warning => Some(33),
            Self::Bad => Some(31),
        }
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(has_colours: bool) -> std::mem::ManuallyDrop<Screen> {
        std::mem::ManuallyDrop::new(Screen { keyboard: None, has_colours })
    }

    #[test]
    fn a_frame_is_no_larger_than_the_terminal() {
        let lines = vec![vec![(Paint::Bad, "abcdef".to_owned()), (Paint::Plain, "ghi".to_owned())]; 3];
        let frame = screen(false).frame(&lines, 8, 2);
        assert_eq!(frame, "\x1b[Habcdefgh\x1b[K\r\nabcdefgh\x1b[K\x1b[J");
        assert_eq!(screen(true).frame(&lines[..1], 3, 2), "\x1b[H\x1b[31mabc\x1b[0m\x1b[K\x1b[J");
    }

    #[test]
    fn nothing_that_is_shown_controls_the_terminal() {
        let line = vec![vec![(Paint::Plain, "a\x1b[2Jb\n".to_owned())]];
        assert_eq!(screen(false).frame(&line, 80, 24), "\x1b[Ha?[2Jb?\x1b[K\x1b[J");
    }
}
