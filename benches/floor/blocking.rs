//! The floor of plain system calls: a thread per connection, `read` and `write`, nothing else.
//!
//! With one connection in flight this is the pair of calls that every event loop must beat.
//! The clock is not read per operation unless `--clock` is given; the main thread opens and closes
//! the window. A thread looks at one shared flag per operation, which only changes twice.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::floor::{self, Options, SIZE_BYTES_MAX};

const WARM_UP: u8 = 0;
const MEASURE: u8 = 1;
const DRAIN: u8 = 2;

/// Echoes until standard input closes.
pub fn serve(options: &Options) -> io::Result<()> {
    let listener = TcpListener::bind(&options.address)?;
    thread::spawn(move || {
        for stream in listener.incoming() {
            match stream {
                Ok(stream) => drop(thread::spawn(move || echo(stream))),
                Err(error) => {
                    eprintln!("accept failed: {error}");
                    thread::sleep(Duration::from_millis(50));
                }
            }
        }
    });
    // The end of standard input ends the process and with it every thread.
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(())
}

/// Sends back what arrives until the peer closes or resets, which is how every client ends.
fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; SIZE_BYTES_MAX];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..count])?;
    }
}

/// Runs the closed loop and prints the result line.
pub fn load(options: &Options) -> io::Result<()> {
    let streams: Vec<TcpStream> = (0..options.connections)
        .map(|_| TcpStream::connect(&options.address))
        .collect::<io::Result<_>>()?;
    threads(options, streams, |mut stream, phase| {
        stream.set_nodelay(true)?;
        let request = vec![b'x'; options.size_bytes];
        let mut answer = vec![0; options.size_bytes];
        closed_loop(options, phase, || {
            stream.write_all(&request)?;
            stream.read_exact(&mut answer)
        })
    })
}

/// Operations of the window and the sum of their latencies.
pub type Tally = (u64, Duration);

/// A thread for each of `each`, and one result line for all.
pub fn threads<T: Send>(
    options: &Options,
    each: Vec<T>,
    ask: impl Fn(T, &AtomicU8) -> io::Result<Tally> + Sync,
) -> io::Result<()> {
    let phase = AtomicU8::new(WARM_UP);
    thread::scope(|scope| {
        let workers: Vec<_> = each
            .into_iter()
            .map(|one| {
                let (phase, ask) = (&phase, &ask);
                thread::Builder::new()
                    .stack_size(256 * 1024)
                    .spawn_scoped(scope, move || ask(one, phase))
            })
            .collect::<io::Result<_>>()?;
        thread::sleep(options.warmup);
        let opened = Instant::now();
        phase.store(MEASURE, Ordering::Relaxed);
        thread::sleep(options.measured);
        phase.store(DRAIN, Ordering::Relaxed);
        let measured = opened.elapsed();
        let (mut operations, mut latency_sum) = (0, Duration::ZERO);
        for worker in workers {
            let (count, latency) = worker
                .join()
                .map_err(|_| floor::broken("a load thread panicked"))??;
            operations += count;
            latency_sum += latency;
        }
        floor::report(options, operations, measured, latency_sum);
        Ok(())
    })
}

/// One operation after the other until the window is over.
pub fn closed_loop(
    options: &Options,
    phase: &AtomicU8,
    mut operation: impl FnMut() -> io::Result<()>,
) -> io::Result<Tally> {
    let (mut operations, mut latency_sum) = (0, Duration::ZERO);
    loop {
        let sent = options.clock.then(Instant::now);
        operation()?;
        let latency = sent.map(|at| at.elapsed());
        match phase.load(Ordering::Relaxed) {
            WARM_UP => {}
            MEASURE => {
                operations += 1;
                latency_sum += latency.unwrap_or_default();
            }
            _ => return Ok((operations, latency_sum)),
        }
    }
}
