//! The lines that wait until standard error takes them. Whoever logs never waits: what finds no room is
//! dropped and counted. A thread of its own writes, since standard error may be a pipe that is not read.
//!
//! `tracing-appender` would do, but at the end of the process it writes to standard error itself to say
//! that standard error takes nothing, and so waits for ever.

use std::{
    io::{self, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use prometheus::IntCounter;
use tracing_subscriber::fmt::MakeWriter;

use super::target;

/// The most bytes that wait: a quarter of a second of all that a busy kvd has to say.
const ROOM: usize = 1024 * 1024;
/// How long the end of the process waits for its last lines to be taken.
const FLUSH_TIME: Duration = Duration::from_secs(2);
/// How long to wait before a descriptor that does not block is tried again.
const PAUSE: Duration = Duration::from_millis(10);

#[derive(Clone)]
pub(super) struct LogQueue(Arc<Shared>);

struct Shared {
    waiting: Mutex<WaitingLines>,
    filled: Condvar,
    emptied: Condvar,
    dropped: IntCounter,
}

#[derive(Default)]
struct WaitingLines {
    lines: Vec<u8>,
    /// Lines dropped since; until these are taken all others follow them, so that no gap is within them.
    dropped: u64,
    /// Nothing waits, and nothing is being written.
    is_idle: bool,
}

impl LogQueue {
    /// Starts the thread that writes to `out`.
    pub(super) fn to(out: impl Write + Send + 'static) -> Self {
        let help = "Lines of the log that standard error did not take in time, or at all.";
        let dropped = IntCounter::new("kvd_log_lines_dropped_total", help);
        let queue = Self(Arc::new(Shared {
            waiting: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            dropped: dropped.expect("the name of the metric is valid"),
        }));
        let lines = queue.clone();
        thread::spawn(move || {
            lines.write_to(Output {
                out,
                is_torn: false,
            });
        });
        queue
    }

    /// The metric of dropped lines, to be registered.
    pub(super) fn dropped(&self) -> IntCounter {
        self.0.dropped.clone()
    }

    /// Adds a whole line, or drops it.
    pub(super) fn push(&self, line: &[u8]) {
        let mut waiting = self.waiting();
        if waiting.dropped > 0 || waiting.lines.len() + line.len() > ROOM {
            waiting.dropped += 1;
            self.0.dropped.inc();
            return;
        }
        waiting.lines.extend_from_slice(line);
        if mem::take(&mut waiting.is_idle) {
            self.0.filled.notify_one();
        }
    }

    /// Waits until all is written, but for [`FLUSH_TIME`] at most.
    pub(super) fn flush(&self) {
        let waiting = self.waiting();
        let emptied = &self.0.emptied;
        // It does not matter which of the two it was.
        let _ = emptied.wait_timeout_while(waiting, FLUSH_TIME, |waiting| !waiting.is_idle);
    }

    fn write_to(&self, mut output: Output<impl Write>) {
        let (mut lines, mut unsaid) = (Vec::new(), 0);
        loop {
            unsaid += self.take(&mut lines);
            let lost = output.write(&mut lines);
            self.0.dropped.inc_by(lost);
            unsaid += lost;
            if lost == 0 && unsaid > 0 {
                let lines = mem::take(&mut unsaid);
                tracing::warn!(target: target::LOG, lines, "lines of the log were dropped");
            }
        }
    }

    /// Waits for lines, and exchanges the written ones for them; how many were dropped after them.
    fn take(&self, lines: &mut Vec<u8>) -> u64 {
        lines.clear();
        let mut waiting = self.waiting();
        while waiting.lines.is_empty() {
            waiting.is_idle = true;
            self.0.emptied.notify_all();
            let filled = self.0.filled.wait(waiting);
            waiting = filled.unwrap_or_else(PoisonError::into_inner);
        }
        waiting.is_idle = false;
        mem::swap(&mut waiting.lines, lines);
        mem::take(&mut waiting.dropped)
    }

    fn waiting(&self) -> MutexGuard<'_, WaitingLines> {
        let waiting = self.0.waiting.lock();
        waiting.unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

/// The library writes each line at once.
impl Write for &LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where lines go, which may be closed, full, or not read.
struct Output<W> {
    out: W,
    /// What was written last is no whole line.
    is_torn: bool,
}

impl<W: Write> Output<W> {
    /// Writes the lines; how many could not be.
    fn write(&mut self, lines: &mut Vec<u8>) -> u64 {
        if self.is_torn {
            lines.insert(0, b'\n');
        }
        let mut written = 0;
        while written < lines.len() {
            match self.out.write(&lines[written..]) {
                Ok(bytes @ 1..) => written += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(PAUSE),
                Ok(0) | Err(_) => break,
            }
        }
        if let Some(last) = written.checked_sub(1) {
            self.is_torn = lines[last] != b'\n';
        }
        let lost = &lines[written..];
        lost.iter().filter(|byte| **byte == b'\n').count() as u64
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// Takes what is written to it when the other end does.
    struct Pipe(SyncSender<Vec<u8>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let sent = self.0.send(bytes.to_vec());
            sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn pipe() -> (LogQueue, Receiver<Vec<u8>>) {
        let (sender, receiver) = sync_channel(0);
        (LogQueue::to(Pipe(sender)), receiver)
    }

    #[test]
    fn lines_are_written_in_their_order() {
        let (queue, reader) = pipe();
        for n in 0..1000 {
            queue.push(format!("{n}\n").as_bytes());
        }
        let mut text = String::new();
        while text.lines().count() < 1000 {
            text += str::from_utf8(&reader.recv().unwrap()).unwrap();
        }
        let numbers: Vec<usize> = text.lines().map(|line| line.parse().unwrap()).collect();
        assert!(numbers.into_iter().eq(0..1000));
        assert_eq!(queue.dropped().get(), 0);
    }

    #[test]
    fn who_logs_does_not_wait_for_a_reader_and_what_finds_no_room_is_counted() {
        let (queue, reader) = pipe();
        let line = [b"x".repeat(99), b"\n".to_vec()].concat();
        for _ in 0..100_000 {
            queue.push(&line);
        }
        let dropped = queue.dropped().get() as usize;
        assert!(dropped > 50_000, "{dropped}");
        let mut taken = 0;
        while taken < 100_000 - dropped {
            taken += reader.recv().unwrap().len() / line.len();
        }
        assert_eq!(taken, 100_000 - dropped);
    }

    #[test]
    fn the_end_waits_until_all_is_written() {
        #[derive(Clone, Default)]
        struct File(Arc<Mutex<Vec<u8>>>);
        impl Write for File {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for _ in 0..100 {
            let file = File::default();
            let queue = LogQueue::to(file.clone());
            queue.push(b"first\n");
            queue.push(b"last\n");
            queue.flush();
            assert_eq!(*file.0.lock().unwrap(), b"first\nlast\n");
        }
    }

    #[test]
    fn the_end_does_not_wait_for_ever() {
        let (queue, _not_read) = pipe();
        queue.push(b"last\n");
        queue.flush();
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_a_torn_one_is_ended() {
        /// Has room for this many bytes.
        struct Disk(usize, Vec<u8>);
        impl Write for Disk {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let room = self.0.saturating_sub(self.1.len()).min(bytes.len());
                self.1.extend_from_slice(&bytes[..room]);
                match room {
                    0 => Err(io::ErrorKind::StorageFull.into()),
                    _ => Ok(room),
                }
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut output = Output {
            out: Disk(6, Vec::new()),
            is_torn: false,
        };
        assert_eq!(output.write(&mut b"one\ntwo\nthree\n".to_vec()), 2);
        output.out.0 = 100;
        assert_eq!(output.write(&mut b"four\n".to_vec()), 0);
        assert_eq!(output.out.1, b"one\ntw\nfour\n");
    }
}
