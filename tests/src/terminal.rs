//! `kvctl` on a pseudo-terminal, as a person has it.

use std::{
    fs::File,
    io::{self, Read, Write},
    process::Stdio,
    thread,
};

use nix::pty::{Winsize, openpty};
use tokio::{io::AsyncWriteExt, sync::oneshot};

use crate::{
    kvctl::Kvctl,
    pace::{PATIENCE, timeout},
    process,
};

/// A stream that a program is born with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdin,
    Stdout,
    Stderr,
}

/// As a person calls it, without any redirection.
pub const ALL: &[Stream] = &[Stream::Stdin, Stream::Stdout, Stream::Stderr];

/// What the person sees, and what went into pipes instead.
#[derive(Debug)]
pub struct Seen {
    pub code: i32,
    /// All that was written to the terminal, control sequences included. Lines end with `\r\n`.
    pub screen: String,
    /// Standard output, if it was a pipe.
    pub stdout: String,
    /// Standard error, if it was a pipe.
    pub stderr: String,
}

impl Seen {
    /// Itself, if it ended with this exit code.
    ///
    /// # Panics
    ///
    /// If it ended otherwise.
    #[track_caller]
    #[must_use]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "another exit code: {self:?}");
        self
    }

    /// What is left on the screen at the end, line by line: a progress bar that was wiped off is not.
    ///
    /// Of the sequences it knows those that move up or down or clear a line; each character has one column.
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        let (mut lines, mut row, mut column) = (vec![Vec::new()], 0_usize, 0);
        let mut rest = self.screen.chars();
        while let Some(next) = rest.next() {
            match next {
                '\r' => column = 0,
                '\n' => row += 1,
                '\u{1b}' => {
                    let mut number = String::new();
                    let command = rest.by_ref().find(|c| {
                        number.extend(Some(*c).filter(char::is_ascii_digit));
                        c.is_ascii_alphabetic()
                    });
                    let number = number.parse().unwrap_or(1);
                    match command {
                        Some('A') => row = row.saturating_sub(number),
                        Some('B') => row += number,
                        Some('K') => lines[row].clear(),
                        _ => {}
                    }
                }
                shown => {
                    lines[row].truncate(column);
                    lines[row].resize(column, ' ');
                    lines[row].push(shown);
                    column += 1;
                }
            }
            lines.resize(lines.len().max(row + 1), Vec::new());
        }
        let text = |line: Vec<char>| line.into_iter().collect::<String>().trim_end().to_owned();
        let mut lines: Vec<_> = lines.into_iter().map(text).collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }
}

/// Runs it to its end with these streams on a terminal of this width, the others being pipes.
///
/// What kvctl is to read is typed there, if its standard input is the terminal.
///
/// # Panics
///
/// If there is no pseudo-terminal to be had, or kvctl does not end.
// Long: both ends of a terminal are opened, used and closed in one order.
pub async fn run(kvctl: Kvctl, columns: u16, on: &[Stream]) -> Seen {
    let size = Winsize {
        ws_row: 50,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let terminal = openpty(Some(&size), None).expect("a pseudo-terminal");
    let end = |stream| -> Stdio {
        match on.contains(&stream) {
            true => terminal.slave.try_clone().expect("a descriptor").into(),
            false => Stdio::piped(),
        }
    };
    let (mut command, input) = kvctl.into_parts();
    command.stdin(end(Stream::Stdin));
    command.stdout(end(Stream::Stdout));
    command.stderr(end(Stream::Stderr));
    let mut child = command.spawn().expect("kvctl starts");
    // The command keeps its end of the terminal open, and so does this.
    drop((command, terminal.slave));
    let mut master = File::from(terminal.master);
    let stdin = child.stdin.take();
    if stdin.is_none() {
        master.write_all(&input).expect("the terminal takes it");
    }
    let screen = read(master);
    let all = async {
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A kvctl that does not read to the end closes the pipe: its exit code tells whether it should have.
                let _broken_pipe = stdin.write_all(&input).await;
            }
        };
        let ((), ended, screen) = tokio::join!(feed, child.wait_with_output(), screen);
        (ended, screen)
    };
    let (ended, screen) = timeout(PATIENCE, all).await.expect("kvctl comes to an end");
    let ended = ended.expect("its output");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Seen {
        code: process::code(ended.status),
        screen: text(&screen.expect("the terminal is read")),
        stdout: text(&ended.stdout),
        stderr: text(&ended.stderr),
    }
}

/// To the end, which Linux tells by an error when the last writer is gone.
///
/// On a thread of its own, which a kvctl that does not end may keep for ever.
fn read(mut master: File) -> oneshot::Receiver<Vec<u8>> {
    let (sender, receiver) = oneshot::channel();
    thread::spawn(move || {
        let mut all = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match master.read(&mut buffer) {
                Ok(n) if n > 0 => all.extend(&buffer[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The test may have stopped waiting for it.
                Ok(_) | Err(_) => break drop(sender.send(all)),
            }
        }
    });
    receiver
}
