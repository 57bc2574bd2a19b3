//! The floor of connection churn over io_uring: one thread and one ring a side.
//!
//! The server receives into memory of the connection and sends the answer linked with the close, both silent. The
//! client links connect, request and a receive that ends with the stream: one wait a transaction.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::time::Instant;

use crate::floor::{Options, Window, broken};
use crate::uring::{Address, Kind, Ring, socket};

/// Answers one message a connection and closes, until standard input closes.
pub fn serve(options: &Options) -> io::Result<()> {
    let listener = TcpListener::bind(&options.address)?;
    let mut ring = Ring::new(options)?;
    ring.accept_many(listener.as_raw_fd());
    ring.readable(0);
    loop {
        ring.submit_and_wait()?;
        while let Some(done) = ring.next_done() {
            match done.kind {
                Kind::Readable => return Ok(()),
                Kind::Accept => {
                    if !done.more {
                        ring.accept_many(listener.as_raw_fd());
                    }
                    if done.result >= 0 {
                        ring.receive_once(done.result, done.result as usize);
                    }
                }
                Kind::Receive => {
                    ring.answer_and_close(done.index as i32, done.index, done.result.max(0) as u32);
                }
                // Silent unless they fail, and a peer that is gone only has to be closed.
                Kind::Send | Kind::Silent => {}
            }
        }
    }
}

/// Runs the closed loop and prints the result line.
pub fn load(options: &Options) -> io::Result<()> {
    let address: SocketAddr = options
        .address
        .parse()
        .map_err(|_| broken("an address is ip:port"))?;
    let address: &'static Address = Box::leak(Box::new(Address::new(address)?));
    let request: &'static [u8] = vec![b'x'; options.size_bytes].leak();
    let mut ring = Ring::new(options)?;
    let mut window = Window::start(options);
    let mut wires: Vec<(i32, Option<Instant>)> = Vec::new();
    for index in 0..options.connections {
        wires.push((socket()?, window.stamp()));
        ring.connect_and_ask(wires[index].0, address, request, index);
    }
    let mut in_flight = wires.len();
    while in_flight > 0 {
        ring.submit_and_wait()?;
        let go_on = window.turn();
        while let Some(done) = ring.next_done() {
            if done.kind != Kind::Receive || done.result != request.len() as i32 {
                return Err(broken("a transaction failed"));
            }
            let wire = &mut wires[done.index];
            ring.close(wire.0);
            let began = wire.1;
            if go_on {
                *wire = (socket()?, window.stamp());
                ring.connect_and_ask(wire.0, address, request, done.index);
            } else {
                in_flight -= 1;
            }
            window.completed(began);
        }
    }
    window.report();
    Ok(())
}
