//! The floor of connection churn, plain system calls: accept, read, write, close; and connect,
//! write, read to the end, close.
//!
//! One thread serves all, as netperf's server does: a request follows its connection at once.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::floor::{Options, SIZE_BYTES_MAX, broken};
use crate::floor_blocking::{closed_loop, threads};

/// Answers one message a connection and closes, until standard input closes.
pub fn serve(options: &Options) -> io::Result<()> {
    let listener = TcpListener::bind(&options.address)?;
    thread::spawn(move || {
        let mut buffer = vec![0; SIZE_BYTES_MAX];
        for mut stream in listener.incoming().flatten() {
            // A peer that is gone already is no matter of ours: the next one is waiting.
            if let Ok(count) = stream.read(&mut buffer) {
                let _ = stream.write_all(&buffer[..count]);
            }
        }
    });
    // The end of standard input ends the process and with it every thread.
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(())
}

/// Runs the closed loop, a thread for every connection at a time, and prints the result line.
pub fn load(options: &Options) -> io::Result<()> {
    let request = vec![b'x'; options.size_bytes];
    threads(options, vec![(); options.connections], |(), phase| {
        let mut answer = Vec::with_capacity(request.len() + 1);
        let mut last = None;
        closed_loop(options, phase, || {
            let mut stream = TcpStream::connect(&options.address)?;
            stream.write_all(&request)?;
            drop(last.take()); // while the peer works
            answer.clear();
            match stream.read_to_end(&mut answer)? {
                count if count == request.len() => {
                    last = Some(stream);
                    Ok(())
                }
                count => Err(broken(&format!("an answer of {count} bytes"))),
            }
        })
    })
}
