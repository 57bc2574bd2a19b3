//! The floor of readiness: one thread, edge-triggered, each socket registered once and for ever.
//!
//! The server reads and writes straight from the event; nobody asks for writability, because a
//! message of at most 16 KiB in a closed loop always fits into the socket buffer. A read that comes
//! back short has drained the socket, so no second read is spent on EAGAIN.
//! The clock is read once per `epoll_wait`, and twice more per operation with `--clock`.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Instant;

use crate::epoll::{EDGE, Epoll, LEVEL};
use crate::floor::{Options, SIZE_BYTES_MAX, Window, broken};

/// Token of the listener.
pub const LISTENER: u64 = u64::MAX;
/// Token of standard input.
pub const STDIN: u64 = u64::MAX - 1;

/// A listener, watched together with standard input.
pub fn listen(options: &Options) -> io::Result<(TcpListener, Epoll)> {
    let listener = TcpListener::bind(&options.address)?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new()?;
    epoll.add(listener.as_raw_fd(), LEVEL, LISTENER)?;
    epoll.add(0, LEVEL, STDIN)?;
    Ok((listener, epoll))
}

/// Echoes until standard input closes.
pub fn serve(options: &Options) -> io::Result<()> {
    let (listener, mut epoll) = listen(options)?;
    let mut streams: Vec<Option<TcpStream>> = Vec::new(); // by descriptor
    let mut buffer = vec![0; SIZE_BYTES_MAX];
    loop {
        for index in 0..epoll.wait()? {
            let event = epoll.event(index);
            match event.token {
                STDIN => return Ok(()),
                LISTENER => accept(&listener, &epoll, &mut streams)?,
                fd => {
                    let slot = &mut streams[fd as usize];
                    let Some(stream) = slot else { continue };
                    if echo(stream, &mut buffer, event.ended).is_err() {
                        *slot = None; // closes; end of stream and reset are how clients leave
                    }
                }
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    epoll: &Epoll,
    streams: &mut Vec<Option<TcpStream>>,
) -> io::Result<()> {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let fd = stream.as_raw_fd();
        epoll.add(fd, EDGE, fd as u64)?;
        streams.resize_with(streams.len().max(fd as usize + 1), || None);
        streams[fd as usize] = Some(stream);
    }
}

fn echo(stream: &mut TcpStream, buffer: &mut [u8], ended: bool) -> io::Result<()> {
    loop {
        let count = match stream.read(buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            other => other?,
        };
        stream.write_all(&buffer[..count])?;
        if count < buffer.len() && !ended {
            return Ok(());
        }
    }
}

struct Connection {
    stream: TcpStream,
    missing_bytes: usize,
    sent: Option<Instant>,
}

/// Runs the closed loop and prints the result line.
pub fn load(options: &Options) -> io::Result<()> {
    let mut epoll = Epoll::new()?;
    let request = vec![b'x'; options.size_bytes];
    let mut buffer = vec![0; SIZE_BYTES_MAX];
    let mut connections = Vec::new();
    for index in 0..options.connections {
        let stream = TcpStream::connect(&options.address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll.add(stream.as_raw_fd(), EDGE, index as u64)?;
        connections.push(Connection {
            stream,
            missing_bytes: request.len(),
            sent: None,
        });
    }
    let mut window = Window::start(options);
    for connection in &mut connections {
        connection.sent = window.stamp();
        connection.stream.write_all(&request)?;
    }
    let mut in_flight = connections.len();
    while in_flight > 0 {
        let ready = epoll.wait()?;
        let go_on = window.turn();
        for index in 0..ready {
            let connection = &mut connections[epoll.event(index).token as usize];
            let count = match connection
                .stream
                .read(&mut buffer[..connection.missing_bytes])
            {
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                other => other?,
            };
            if count == 0 {
                return Err(broken("the server closed a connection"));
            }
            connection.missing_bytes -= count;
            if connection.missing_bytes > 0 {
                continue;
            }
            window.completed(connection.sent);
            if !go_on {
                in_flight -= 1;
                continue;
            }
            connection.missing_bytes = request.len();
            connection.sent = window.stamp();
            connection.stream.write_all(&request)?;
        }
    }
    window.report();
    Ok(())
}
