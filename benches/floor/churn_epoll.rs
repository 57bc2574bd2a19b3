//! The floor of connection churn over epoll: one thread a side.
//!
//! The server tries to read what it has just accepted, and registers it only if there is nothing yet. The client
//! connects with a blocking connect(2), which on loopback never sleeps: the least that can be done.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Instant;

use crate::epoll::{EDGE, Epoll};
use crate::floor::{Options, SIZE_BYTES_MAX, Window, broken};
use crate::floor_epoll::{LISTENER, STDIN, listen};

/// Answers one message a connection and closes, until standard input closes.
pub fn serve(options: &Options) -> io::Result<()> {
    let (listener, mut epoll) = listen(options)?;
    let mut waiting: Vec<Option<TcpStream>> = Vec::new(); // by descriptor
    let mut buffer = vec![0; SIZE_BYTES_MAX];
    loop {
        for index in 0..epoll.wait()? {
            match epoll.event(index).token {
                STDIN => return Ok(()),
                LISTENER => accept(&listener, &epoll, &mut waiting, &mut buffer)?,
                fd => drop(
                    waiting[fd as usize]
                        .take()
                        .map(|mut stream| answer(&mut stream, &mut buffer)),
                ),
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    epoll: &Epoll,
    waiting: &mut Vec<Option<TcpStream>>,
    buffer: &mut [u8],
) -> io::Result<()> {
    let Ok((mut stream, _)) = listener.accept() else {
        return Ok(()); // gone again, or not there: the next event says more
    };
    stream.set_nonblocking(true)?;
    if answer(&mut stream, buffer).is_ok() {
        return Ok(());
    }
    let fd = stream.as_raw_fd();
    epoll.add(fd, EDGE, fd as u64)?;
    waiting.resize_with(waiting.len().max(fd as usize + 1), || None);
    waiting[fd as usize] = Some(stream);
    Ok(())
}

/// An error means that nothing is there yet.
fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<()> {
    match stream.read(buffer) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(error),
        Ok(count) => stream.write_all(&buffer[..count]).or(Ok(())),
        Err(_) => Ok(()), // reset: it only has to be closed
    }
}

/// Runs the closed loop and prints the result line.
pub fn load(options: &Options) -> io::Result<()> {
    let mut epoll = Epoll::new()?;
    let request = vec![b'x'; options.size_bytes];
    let mut buffer = vec![0; SIZE_BYTES_MAX];
    let mut window = Window::start(options);
    let mut wires = Vec::new();
    for index in 0..options.connections {
        wires.push(Wire::ask(options, &epoll, &request, index, window.stamp())?);
    }
    let mut in_flight = wires.len();
    while in_flight > 0 {
        let ready = epoll.wait()?;
        let go_on = window.turn();
        for index in 0..ready {
            let index = epoll.event(index).token as usize;
            let wire = &mut wires[index];
            if !wire.ended(&mut buffer)? {
                continue;
            }
            if wire.missing_bytes != 0 {
                return Err(broken("an answer of another length"));
            }
            window.completed(wire.began);
            if go_on {
                // Closes the old one behind the new one's request, while its peer works.
                *wire = Wire::ask(options, &epoll, &request, index, window.stamp())?;
            } else {
                in_flight -= 1;
            }
        }
    }
    window.report();
    Ok(())
}

struct Wire {
    stream: TcpStream,
    missing_bytes: usize,
    began: Option<Instant>,
}

impl Wire {
    fn ask(
        options: &Options,
        epoll: &Epoll,
        request: &[u8],
        index: usize,
        began: Option<Instant>,
    ) -> io::Result<Self> {
        let mut stream = TcpStream::connect(&options.address)?;
        stream.set_nonblocking(true)?;
        stream.write_all(request)?;
        epoll.add(stream.as_raw_fd(), EDGE, index as u64)?;
        Ok(Self {
            stream,
            missing_bytes: request.len(),
            began,
        })
    }

    /// Reads to where nothing is there; true at the end of the stream.
    fn ended(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Ok(true),
                Ok(count) => self.missing_bytes = self.missing_bytes.wrapping_sub(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}
