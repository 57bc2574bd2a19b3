//! The floor of io_uring: one thread, one ring, multishot accept and receive into a buffer ring,
//! one send in flight per connection, one system call per turn.
//!
//! The server sends straight from the receive buffer and gives it back when the send is done. The
//! client sends a static request, so a successful send posts no completion (the answer proves it).
//! The clock is read once per turn, and twice more per operation with `--clock`.

use std::collections::VecDeque;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Instant;

use crate::floor::{Options, Window, broken};
use crate::uring::{Done, Kind, Ring, set_nodelay};

/// A connection of the server, found by its descriptor, which is closed only after the final
/// completions of its receive and its sends: no completion can be stale.
#[derive(Default)]
struct Echo {
    socket: Option<OwnedFd>,
    owed: VecDeque<(u16, u32)>, // buffer and length; the front one is being sent
    receiving: bool,
}

/// Echoes until standard input closes.
pub fn serve(options: &Options) -> io::Result<()> {
    let listener = TcpListener::bind(&options.address)?;
    set_nodelay(&listener)?;
    let mut ring = Ring::new(options)?;
    ring.accept_many(listener.as_raw_fd());
    ring.readable(0);
    let mut echoes: Vec<Echo> = Vec::new();
    loop {
        ring.submit_and_wait()?;
        while let Some(done) = ring.next_done() {
            match done.kind {
                Kind::Readable => return Ok(()),
                Kind::Accept => {
                    let fd = accepted(&mut echoes, done.result)?;
                    ring.receive_many(fd, fd as usize);
                    if !done.more {
                        ring.accept_many(listener.as_raw_fd());
                    }
                }
                Kind::Receive => received(&mut ring, &mut echoes[done.index], done),
                Kind::Send => sent(&mut ring, &mut echoes[done.index], done),
                Kind::Silent => {}
            }
        }
    }
}

fn accepted(echoes: &mut Vec<Echo>, result: i32) -> io::Result<i32> {
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(result) };
    let index = result as usize;
    echoes.resize_with(echoes.len().max(index + 1), Echo::default);
    echoes[index].socket = Some(socket);
    echoes[index].receiving = true;
    Ok(result)
}

fn received(ring: &mut Ring, echo: &mut Echo, done: Done) {
    let fd = done.index as i32;
    if let Some(buffer) = done.buffer {
        if done.result > 0 {
            echo.owed.push_back((buffer, done.result as u32));
            if echo.owed.len() == 1 {
                ring.send_buffer(fd, buffer, done.result as u32, done.index);
            }
        } else {
            ring.give_back(buffer);
        }
    }
    if !done.more {
        echo.receiving = ring.receive_again(fd, done); // false: end of stream or reset
    }
    close_when_done(echo);
}

fn sent(ring: &mut Ring, echo: &mut Echo, done: Done) {
    let Some((buffer, length)) = echo.owed.pop_front() else {
        return;
    };
    ring.give_back(buffer);
    if done.result != length as i32 {
        echo.owed
            .drain(..)
            .for_each(|(buffer, _)| ring.give_back(buffer)); // the peer is gone
    }
    if let Some(&(buffer, length)) = echo.owed.front() {
        ring.send_buffer(done.index as i32, buffer, length, done.index);
    }
    close_when_done(echo);
}

fn close_when_done(echo: &mut Echo) {
    if !echo.receiving && echo.owed.is_empty() {
        echo.socket = None;
    }
}

/// Runs the closed loop and prints the result line.
pub fn load(options: &Options) -> io::Result<()> {
    let mut ring = Ring::new(options)?;
    let request: &'static [u8] = vec![b'x'; options.size_bytes].leak();
    let mut connections = Vec::new();
    for index in 0..options.connections {
        let stream = TcpStream::connect(&options.address)?;
        stream.set_nodelay(true)?;
        ring.receive_many(stream.as_raw_fd(), index);
        connections.push((stream, request.len(), None::<Instant>));
    }
    let mut window = Window::start(options);
    for (index, (stream, _, sent)) in connections.iter_mut().enumerate() {
        *sent = window.stamp();
        ring.send_static(stream.as_raw_fd(), request, index);
    }
    let mut in_flight = connections.len();
    while in_flight > 0 {
        ring.submit_and_wait()?;
        let go_on = window.turn();
        while let Some(done) = ring.next_done() {
            let (stream, missing_bytes, sent) = &mut connections[done.index];
            if done.kind == Kind::Send {
                return Err(broken("a send failed or was short"));
            }
            done.buffer.inspect(|&buffer| ring.give_back(buffer));
            if !done.more && !ring.receive_again(stream.as_raw_fd(), done) {
                return Err(broken("the server closed a connection"));
            }
            *missing_bytes = missing_bytes.saturating_sub(done.result.max(0) as usize);
            if done.result <= 0 || *missing_bytes > 0 {
                continue;
            }
            window.completed(*sent);
            if go_on {
                (*missing_bytes, *sent) = (request.len(), window.stamp());
                ring.send_static(stream.as_raw_fd(), request, done.index);
            } else {
                in_flight -= 1;
            }
        }
    }
    window.report();
    Ok(())
}
