//! Short lines, read without taking a byte of what follows them: that is for the agent.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Longer than any of the messages.
const LINE_BYTES_MAX: usize = 1024;

/// Lines of a connection until a deadline, which is of all of them together: who says a byte now and then gains nothing.
pub(super) struct TimedLines<'a> {
    stream: &'a TcpStream,
    deadline: Instant,
}

impl<'a> TimedLines<'a> {
    pub fn new(stream: &'a TcpStream, timeout: Duration) -> Self {
        Self {
            stream,
            deadline: Instant::now() + timeout,
        }
    }

    /// The next message.
    ///
    /// # Errors
    /// The end, the deadline, a line that is too long or no message.
    pub fn hear<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        let mut line = Vec::new();
        loop {
            let byte = self.byte()?;
            if byte == b'\n' {
                break;
            }
            if line.len() == LINE_BYTES_MAX {
                return Err(wrong("it is too long"));
            }
            line.push(byte);
        }
        serde_json::from_slice(&line).map_err(|error| wrong(&error.to_string()))
    }

    /// Says something, within the deadline too.
    pub fn say(&mut self, message: &impl Serialize) -> io::Result<()> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        let mut stream = self.stream;
        crate::lines::write_line(&mut stream, message)
    }

    fn byte(&mut self) -> io::Result<u8> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        let (mut stream, mut byte) = (self.stream, [0]);
        match stream.read(&mut byte) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.byte(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(io::ErrorKind::TimedOut.into())
            }
            Err(error) => Err(error),
        }
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(left),
        }
    }
}

/// An agent takes its time.
pub(super) fn without_deadline(stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(None)
}

fn wrong(why: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("a line that is no message of linerate: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::FromListener;
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (one, listener.accept().unwrap().0)
    }

    #[test]
    fn what_follows_a_line_is_left_for_the_agent() {
        let (mut one, mut other) = pair();
        one.write_all(b"{\"say\":\"round\"}\nfor the agent")
            .unwrap();
        drop(one);
        let heard = TimedLines::new(&other, Duration::from_secs(5)).hear::<FromListener>();
        assert_eq!(heard.unwrap(), FromListener::Round);
        let mut rest = String::new();
        other.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "for the agent");
    }

    #[test]
    fn lines_are_bounded_and_are_messages() {
        for text in ["x".repeat(5_000), "GET / HTTP/1.1\r\n\r\n".into()] {
            let (mut one, other) = pair();
            one.write_all(text.as_bytes()).unwrap();
            let heard = TimedLines::new(&other, Duration::from_secs(5)).hear::<FromListener>();
            assert_eq!(
                heard.unwrap_err().kind(),
                io::ErrorKind::InvalidData,
                "{text}"
            );
        }
    }

    #[test]
    fn who_says_a_byte_now_and_then_is_too_slow_all_the_same() {
        let (mut one, other) = pair();
        let slow = std::thread::spawn(move || {
            while one.write_all(b" ").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let began = Instant::now();
        let heard = TimedLines::new(&other, Duration::from_millis(200)).hear::<FromListener>();
        assert_eq!(heard.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= Duration::from_millis(200));
        drop(other);
        slow.join().unwrap();
    }
}
