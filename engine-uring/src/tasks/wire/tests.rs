//! In which order a conversation does things, on a runtime that writes them down.

use super::super::monoio::OnEpoll;
use super::super::runtime::Connect;
use super::super::settings::{OF_MONOIO_LEGACY, Settings};
use super::*;
use engine::options::EngineOption;
use engine::pattern;
use engine::session::Out;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::task::Waker;

/// A connection that does as it is told.
#[derive(Debug, Default)]
struct Script {
    name: char,
    /// Single bytes that have arrived and were not received.
    arrived: Cell<u32>,
    /// The kernel takes what is sent; else a send waits.
    takes: Cell<bool>,
    /// What was begun.
    begun: Rc<RefCell<Vec<(char, &'static str)>>>,
    /// Rung with each byte received.
    bell: Rc<Bell>,
}

#[derive(Debug)]
struct Scripted(Rc<Script>, UnixStream);

impl AsRawFd for Scripted {
    fn as_raw_fd(&self) -> RawFd {
        self.1.as_raw_fd()
    }
}

enum Fake {}

impl Runtime for Fake {
    const NAME: &'static str = "fake";
    const OPTIONS: &'static [EngineOption] = &[];
    const NONBLOCKING: bool = true;
    type Stream = Scripted;
    type Reader = Scripted;
    type Writer = Rc<Script>;
    type Listener = ();
    type Signal = ();

    fn split(stream: Scripted) -> (Scripted, Rc<Script>) {
        let writer = Rc::clone(&stream.0);
        (stream, writer)
    }

    fn close(_: Scripted, _: Rc<Script>) {}

    async fn receive(reader: &mut Scripted, mut block: Block) -> (io::Result<usize>, Block) {
        let script = &reader.0;
        script.begun.borrow_mut().push((script.name, "receive"));
        poll_fn(|_| match script.arrived.get() {
            0 => Poll::Pending,
            bytes => {
                script.arrived.set(bytes - 1);
                Poll::Ready(())
            }
        })
        .await;
        script.bell.ring();
        block.fill(b"x");
        (Ok(1), block)
    }

    async fn send(writer: &mut Rc<Script>, parcel: Parcel) -> (io::Result<usize>, Parcel) {
        writer.begun.borrow_mut().push((writer.name, "send"));
        poll_fn(|_| match writer.takes.get() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
        (Ok(parcel.len()), parcel)
    }

    fn block_on<F>(_: &Settings, _: F) -> Result<F::Output, String>
    where
        F: Future<Output: 'static> + 'static,
    {
        unreachable!("a conversation does not do this")
    }
    fn spawn(_: impl Future<Output = ()> + 'static) {
        unreachable!("a conversation does not do this")
    }
    fn listener(_: OwnedFd, _: bool) -> io::Result<()> {
        unreachable!("a conversation does not do this")
    }
    async fn accept((): &()) -> io::Result<Scripted> {
        unreachable!("a conversation does not do this")
    }
    fn adopt(_: OwnedFd, _: bool) -> io::Result<Scripted> {
        unreachable!("a conversation does not do this")
    }
    fn release(_: Scripted) -> io::Result<OwnedFd> {
        unreachable!("a conversation does not do this")
    }
    async fn connect(_: Connect<'_>, _: impl Future<Output = ()>) -> io::Result<Scripted> {
        unreachable!("a conversation does not do this")
    }
    fn signal(_: OwnedFd) -> io::Result<()> {
        unreachable!("a conversation does not do this")
    }
    async fn readable((): &()) {
        unreachable!("a conversation does not do this")
    }
    fn lacks(_: &str, _: &str) -> Option<&'static str> {
        None
    }
    fn features() -> Vec<(String, String)> {
        Vec::new()
    }
}

/// What a party does with what arrives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Habit {
    Echo,
    Discard,
    Reset,
}

struct Guest(Habit);

impl Party for Guest {
    fn received(&mut self, bytes: &mut [u8], out: &mut Speaker<'_>) {
        match self.0 {
            Habit::Echo => out.echo(0..bytes.len() as u32),
            Habit::Discard => {}
            Habit::Reset => out.close(How::Rst),
        }
    }
    fn moved(&mut self, _: usize) -> u64 {
        0
    }
    fn sent(&mut self, _: &mut Speaker<'_>) {}
    fn finished(&mut self, _: &mut Speaker<'_>) -> bool {
        true
    }
    fn lost(&mut self, _: i32, _: &mut Speaker<'_>) -> How {
        How::Rst
    }
}

fn bench() -> Rc<Bench> {
    Bench::new(64, Arc::new(pattern::region(8)))
}

/// A wire with its connection attached, and the other end of that.
fn wired(
    habit: Habit,
    script: Script,
    bench: &Rc<Bench>,
) -> (Rc<Wire<Guest>>, Scripted, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let wire = Wire::new(Guest(habit), Rc::clone(bench));
    wire.attach(ours.as_raw_fd());
    (wire, Scripted(Rc::new(script), ours), theirs)
}

/// What is begun until a byte came in, and in the same poll in which that is noticed.
fn begun(habit: Habit, takes: bool) -> Vec<&'static str> {
    let bench = bench();
    let (wire, stream, _theirs) = wired(habit, Script::default(), &bench);
    let script = Rc::clone(&stream.0);
    script.takes.set(takes);
    let mut conversation = pin!(wire.converse::<Fake>(stream));
    let mut context = Context::from_waker(Waker::noop());
    assert!(conversation.as_mut().poll(&mut context).is_pending());
    script.arrived.set(1);
    let _ = conversation.as_mut().poll(&mut context);
    wire.leave();
    let begun = script.begun.borrow();
    begun.iter().map(|&(_, what)| what).collect()
}

#[test]
fn an_answer_goes_out_before_the_next_receive_and_both_in_one_poll() {
    // By readiness a send ends at once, by completion it does not.
    for takes in [true, false] {
        assert_eq!(begun(Habit::Echo, takes), ["receive", "send", "receive"]);
    }
    assert_eq!(begun(Habit::Discard, true), ["receive", "receive"]);
}

#[test]
fn nothing_is_received_after_the_session_has_closed() {
    assert_eq!(begun(Habit::Reset, true), ["receive"]);
}

#[test]
fn what_is_said_first_goes_out_before_the_first_receive() {
    let bench = bench();
    let (wire, stream, _theirs) = wired(Habit::Discard, Script::default(), &bench);
    let script = Rc::clone(&stream.0);
    wire.prepare(|_, out| out.shared(0..4));
    let mut conversation = pin!(wire.converse::<Fake>(stream));
    let mut context = Context::from_waker(Waker::noop());
    assert!(conversation.as_mut().poll(&mut context).is_pending());
    wire.leave();
    assert_eq!(*script.begun.borrow(), [('\0', "send"), ('\0', "receive")]);
}

/// monoio runs a task that wakes itself before all others.
#[test]
fn one_that_always_has_something_to_do_does_not_keep_others_from_running() {
    const BYTES: u32 = 2_000;
    let settings = Settings::parse("monoio-legacy", &OF_MONOIO_LEGACY, &[]).unwrap();
    let begun = Rc::new(RefCell::new(Vec::new()));
    let order = Rc::clone(&begun);
    OnEpoll::block_on(&settings, async move {
        let (bench, bell) = (bench(), Rc::new(Bell::default()));
        let usher = Rc::clone(&bench);
        OnEpoll::spawn(async move { usher.turns.usher().await });
        let mut scripts = Vec::new();
        let mut wires = Vec::new();
        for name in ['a', 'b'] {
            let script = Script {
                name,
                arrived: Cell::new(BYTES),
                takes: Cell::new(true),
                begun: Rc::clone(&order),
                bell: Rc::clone(&bell),
            };
            let (wire, stream, theirs) = wired(Habit::Discard, script, &bench);
            scripts.push(Rc::clone(&stream.0));
            wires.push((Rc::clone(&wire), theirs));
            OnEpoll::spawn(async move { wire.converse::<Fake>(stream).await });
        }
        poll_fn(|context| {
            bell.listen(context.waker());
            match scripts.iter().all(|script| script.arrived.get() == 0) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
        wires.iter().for_each(|(wire, _)| wire.leave());
        bench.turns.end();
        bell.forget();
    })
    .unwrap();
    let begun = begun.borrow();
    let turn = begun.iter().take_while(|(name, _)| *name == 'a').count();
    assert!(
        turn <= OPERATIONS_PER_TURN + 1,
        "b waited for {turn} operations of a"
    );
    let longest = begun.chunk_by(|one, next| one.0 == next.0).map(<[_]>::len);
    assert!(longest.max().unwrap() <= 2 * OPERATIONS_PER_TURN);
}
