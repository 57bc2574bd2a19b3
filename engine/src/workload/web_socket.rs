//! Messages over WebSockets that come back: the load's clients.
//!
//! A message says which it is: it begins with its number, in eight characters, so that its echo is known whenever and in
//! whatever order it comes, and one that was garbled, repeated or meant for somebody else is no answer. All of it is
//! ASCII, as text and as bytes.

use super::Flight;
use super::numbered::NumberedFlights;
use crate::load::{Connects, LoadOut, LoadSession, LoadWorkload, Loss, Outcome};
use crate::meter::{ErrorKind, Meter};
use crate::pattern::{self, PERIOD};
use crate::region::Region;
use crate::session::{Hints, How, SPACE_MAX};
use crate::shape::Pace;
use crate::websocket::frame::{self, Decoder, HEADER_MAX, Kind, Opcode, Piece};
use crate::websocket::handshake::{self, AFTER_KEY, KEY_BYTES, Opening};
use crate::websocket::mask::{self, Key};
use crate::websocket::utf8::Utf8;
use crate::websocket::{Violation, close};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// Bytes by which a message is known.
pub const NUMBER_BYTES: usize = 8;

/// A peer may send what it likes; messages beyond this are refused, for a client that reads without end measures nothing.
const LIMIT_MESSAGE_BYTES: u64 = 1 << 30;

/// The load's clients of a WebSocket echo.
#[derive(Clone, Debug, PartialEq)]
pub struct WebSocket {
    /// What is asked for in the handshake.
    pub opening: Arc<Opening>,
    /// Bytes of a message, at least [`NUMBER_BYTES`].
    pub message_bytes: u32,
    /// Bytes of the payload of a frame at most, at least 1; a longer message goes in fragments.
    pub frame_bytes: u32,
    /// What messages are sent as. Their echoes may be either.
    pub kind: Kind,
    /// In flight per connection at most, at least 1.
    pub depth: u32,
    /// When to send.
    pub pace: Pace,
    /// Compare every byte, and not only the number.
    pub verify: bool,
}

impl LoadWorkload for WebSocket {
    type Slot = WebSocketSlot;
    type Session = WebSocketSession;
    const CONNECTS: Connects = Connects::Joining;
    const OWES: bool = true;
    const PARTS: bool = true;

    fn pace(&self) -> Pace {
        self.pace
    }

    fn depth(&self) -> u32 {
        self.depth
    }

    fn slot(&self, index: u32, region: &Arc<Region>) -> WebSocketSlot {
        // Each client has numbers of its own: the echo of another's message is no answer.
        let first = u64::from(index).wrapping_mul(0x9e37_79b9_7f4a_7c15) & NUMBER_MASK >> 1;
        WebSocketSlot {
            flights: NumberedFlights::with_depth(self.depth, first),
            first,
            random: RandomState::new().hash_one(index) | 1,
            region: Arc::clone(region),
            answers: Answers::default(),
        }
    }

    fn session(&self) -> WebSocketSession {
        WebSocketSession {
            message_bytes: self.message_bytes,
            frame_bytes: self.frame_bytes,
            kind: self.kind,
            verify: self.verify,
            state: State::Shaking(Box::new(Shaking {
                opening: Arc::clone(&self.opening),
                key: [0; KEY_BYTES],
                held: Vec::new(),
            })),
            decoder: Decoder::new(false, LIMIT_MESSAGE_BYTES),
            text: Utf8::default(),
            incoming: Incoming::default(),
            is_leaving: false,
        }
    }

    fn hints(&self) -> Hints {
        let message_bytes = u64::from(self.message_bytes) + HEADER_MAX as u64;
        let in_flight = message_bytes * u64::from(self.depth);
        Hints {
            receive_bytes: in_flight.min(u64::from(u32::MAX)) as u32,
            bulk: false,
            brief: false,
        }
    }

    /// The text that messages are made of, and behind it the head of the request.
    fn region(&self) -> Region {
        let mut bytes = pattern::text(PERIOD);
        bytes.extend_from_slice(self.opening.head().as_bytes());
        Region::new(bytes)
    }

    fn conclude(slot: &WebSocketSlot, meter: &mut Meter) {
        let Answers {
            has_opened,
            count,
            sum_ns,
            longest_ns,
        } = slot.answers;
        if has_opened {
            meter.client(count, sum_ns, longest_ns);
        }
    }
}

/// Where the head of the request begins in the region.
const HEAD_AT: u32 = 2 * PERIOD;

/// What outlives a connection of [`WebSocket`].
#[derive(Debug)]
pub struct WebSocketSlot {
    flights: NumberedFlights,
    /// The number of its first message.
    first: u64,
    /// State of the generator of keys, never 0.
    random: u64,
    region: Arc<Region>,
    answers: Answers,
}

/// What a client got, of the messages that were due in the window.
#[derive(Clone, Copy, Debug, Default)]
struct Answers {
    has_opened: bool,
    count: u64,
    sum_ns: u64,
    longest_ns: u64,
}

impl WebSocketSlot {
    /// xorshift64* (Vigna 2016), seeded by what the system seeds hash tables with. Nobody is to guess a mask because of
    /// intermediaries that take frames for requests (RFC 6455 section 10.3); between a load and its testee are none.
    #[inline]
    fn random(&mut self) -> u64 {
        let state = &mut self.random;
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    #[inline]
    fn key(&mut self) -> Key {
        ((self.random() >> 32) as u32).to_ne_bytes()
    }
}

#[derive(Debug)]
struct Shaking {
    opening: Arc<Opening>,
    key: [u8; KEY_BYTES],
    /// What has come of the answer's head, unless it came at once.
    held: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Shaking(Box<Shaking>),
    Open,
    /// We have said goodbye; the peer is to do so, and to close.
    Parting,
    /// The peer has said goodbye, for this reason, and is to close.
    Left(Loss),
}

/// A peer that has said goodbye has so long to close, ns.
const FAREWELL_LIMIT_NS: u64 = 1_000_000_000;

/// What has come of a message.
#[derive(Clone, Copy, Debug, Default)]
struct Incoming {
    bytes: u64,
    /// Its first bytes.
    number: [u8; NUMBER_BYTES],
    /// Something in it is not as it should be.
    is_wrong: bool,
}

/// One connection of [`WebSocket`].
#[derive(Debug)]
pub struct WebSocketSession {
    message_bytes: u32,
    frame_bytes: u32,
    kind: Kind,
    verify: bool,
    state: State,
    decoder: Decoder,
    text: Utf8,
    incoming: Incoming,
    /// The run is over: what is in flight is waited for, and then we say goodbye.
    is_leaving: bool,
}

impl LoadSession<WebSocketSlot> for WebSocketSession {
    fn connected<O: LoadOut>(&mut self, slot: &mut WebSocketSlot, out: &mut O) {
        let State::Shaking(shaking) = &mut self.state else {
            return;
        };
        let nonce = [slot.random().to_ne_bytes(), slot.random().to_ne_bytes()];
        let mut bytes = [0; 16];
        bytes.copy_from_slice(nonce.as_flattened());
        shaking.key = handshake::key_of(bytes);
        out.shared(HEAD_AT..slot.region.len() as u32);
        let space = out.space(KEY_BYTES + AFTER_KEY.len());
        space[..KEY_BYTES].copy_from_slice(&shaking.key);
        space[KEY_BYTES..].copy_from_slice(AFTER_KEY);
    }

    fn opened<O: LoadOut>(&mut self, slot: &mut WebSocketSlot, out: &mut O) {
        let (began, now_ns) = (out.began(), out.now_ns());
        out.meter().handshake(began.started_ns, now_ns);
        slot.answers.has_opened = true;
        self.fill(slot, out);
    }

    fn due<O: LoadOut>(&mut self, slot: &mut WebSocketSlot, out: &mut O) {
        self.fill(slot, out);
    }

    fn received<O: LoadOut>(&mut self, slot: &mut WebSocketSlot, bytes: &mut [u8], out: &mut O) {
        let from = match &mut self.state {
            State::Open | State::Parting => Some(0),
            State::Left(_) => None,
            State::Shaking(shaking) => match shaking.hear(bytes) {
                Ok(from) => from,
                Err(why) => {
                    return out.end(Outcome::Failed(Loss::new(ErrorKind::Protocol, why)));
                }
            },
        };
        let Some(from) = from else { return };
        if let State::Shaking(_) = self.state {
            self.state = State::Open;
            out.ready();
        }
        match self.read(slot, bytes, from, out) {
            Ok(()) => self.fill(slot, out),
            Err(loss) => out.end(Outcome::Failed(loss)),
        }
        self.part_if_done(slot, out);
    }

    fn awaits_sent(&self) -> bool {
        false
    }

    fn part<O: LoadOut>(&mut self, slot: &mut WebSocketSlot, out: &mut O) {
        self.is_leaving = true;
        self.part_if_done(slot, out);
    }

    fn timer<O: LoadOut>(&mut self, _: &mut WebSocketSlot, out: &mut O) {
        if let State::Left(loss) = &self.state {
            out.end(Outcome::Failed(loss.clone()));
        }
    }

    fn peer_finished<O: LoadOut>(&mut self, _: &mut WebSocketSlot, out: &mut O) {
        out.end(self.outcome(Loss::closed_by_peer));
    }

    fn lost<O: LoadOut>(&mut self, _: &mut WebSocketSlot, errno: i32, out: &mut O) {
        out.end(self.outcome(|| Loss::of_errno(errno)));
    }

    fn waiting_since_ns(&self, slot: &WebSocketSlot) -> Option<u64> {
        slot.flights.oldest().map(|flight| flight.sent_ns)
    }

    fn fail(
        &mut self,
        slot: &mut WebSocketSlot,
        loss: &Loss,
        now_ns: u64,
        meter: &mut Meter,
    ) -> u64 {
        slot.flights.fail(loss, now_ns, meter)
    }

    fn abandon(&mut self, slot: &mut WebSocketSlot, now_ns: u64, meter: &mut Meter) -> u64 {
        slot.flights.abandon(now_ns, meter)
    }
}

impl Shaking {
    /// Takes what came of the answer: where in it the head ends, `None` if it does not.
    fn hear(&mut self, bytes: &[u8]) -> Result<Option<usize>, String> {
        if self.held.is_empty() {
            let end = handshake::judge_answer(bytes, &self.key, &self.opening)?;
            if end.is_none() {
                self.held = bytes.to_vec();
            }
            return Ok(end);
        }
        let before = self.held.len();
        self.held.extend_from_slice(bytes);
        let end = handshake::judge_answer(&self.held, &self.key, &self.opening)?;
        // A head ends in what has come last.
        Ok(end.map(|end| end - before))
    }
}

impl WebSocketSession {
    // ---- sending ---------------------------------------------------------------------------

    /// Sends as many messages as depth, schedule and count allow.
    #[inline]
    fn fill<O: LoadOut>(&mut self, slot: &mut WebSocketSlot, out: &mut O) {
        if !matches!(self.state, State::Open) {
            return;
        }
        while !slot.flights.is_full() {
            let Some(intended_ns) = out.start() else {
                return;
            };
            let sent_ns = out.now_ns();
            let number = slot.flights.push(Flight {
                intended_ns,
                sent_ns,
            });
            out.record_sent(number - slot.first, sent_ns);
            self.send(number, slot, out);
        }
    }

    fn send<O: LoadOut>(&self, number: u64, slot: &mut WebSocketSlot, out: &mut O) {
        let message_bytes = self.message_bytes as usize;
        let mut at = 0;
        while at < message_bytes {
            let length = (message_bytes - at).min(self.frame_bytes as usize);
            let opcode = match at {
                0 => self.kind.opcode(),
                _ => Opcode::Continuation,
            };
            let key = slot.key();
            let mut header = [0; HEADER_MAX];
            let is_last = at + length == message_bytes;
            let header_bytes = frame::put_header(&mut header, is_last, opcode, length, Some(key));
            let mut header = &header[..header_bytes];
            let (from, end) = (at, at + length);
            while at < end {
                let part = (end - at).min(SPACE_MAX - header.len());
                let space = out.space(header.len() + part);
                let (head, payload) = space.split_at_mut(header.len());
                head.copy_from_slice(header);
                put_message(payload, at, number, &slot.region);
                mask::apply(payload, mask::rotated(key, at - from));
                header = &[];
                at += part;
            }
        }
    }

    // ---- receiving -------------------------------------------------------------------------

    #[inline]
    fn read<O: LoadOut>(
        &mut self,
        slot: &mut WebSocketSlot,
        bytes: &[u8],
        mut at: usize,
        out: &mut O,
    ) -> Result<(), Loss> {
        loop {
            let piece = self.decoder.next(bytes, &mut at);
            match piece
                .map_err(|violation| Loss::new(ErrorKind::Protocol, sent_us(violation.why)))?
            {
                None => return Ok(()),
                Some(Piece::Data {
                    payload,
                    kind,
                    ends_message,
                    ..
                }) => {
                    let part = &bytes[payload];
                    if kind == Kind::Text && !self.text.push(part) {
                        return Err(not_utf8());
                    }
                    self.take(part, slot);
                    if ends_message {
                        if !std::mem::take(&mut self.text).is_complete() {
                            return Err(not_utf8());
                        }
                        let message = std::mem::take(&mut self.incoming);
                        self.answered(message, slot, out);
                    }
                }
                Some(Piece::Control(Opcode::Ping)) => {
                    frame::send_control(
                        Opcode::Pong,
                        self.decoder.control(),
                        Some(slot.key()),
                        out,
                    );
                }
                Some(Piece::Control(Opcode::Close)) => return self.hear_close(slot, out),
                Some(Piece::Control(_)) => {}
            }
        }
    }

    /// More of a message.
    #[inline]
    fn take(&mut self, part: &[u8], slot: &WebSocketSlot) {
        let incoming = &mut self.incoming;
        let mut rest = part;
        if incoming.bytes < NUMBER_BYTES as u64 {
            let at = incoming.bytes as usize;
            let length = rest.len().min(NUMBER_BYTES - at);
            incoming.number[at..at + length].copy_from_slice(&rest[..length]);
            incoming.bytes += length as u64;
            rest = &rest[length..];
        }
        if self.verify && !rest.is_empty() {
            let number = number_of(incoming.number).unwrap_or(0);
            let position = position(number, incoming.bytes);
            incoming.is_wrong |= !pattern::matches(&slot.region, position, rest);
        }
        incoming.bytes += rest.len() as u64;
    }

    /// A message is complete: an answer, or an error of its own.
    #[inline]
    fn answered<O: LoadOut>(&mut self, message: Incoming, slot: &mut WebSocketSlot, out: &mut O) {
        let now_ns = out.now_ns();
        let number = number_of(message.number).filter(|_| message.bytes >= NUMBER_BYTES as u64);
        let answered = number.and_then(|number| Some((number, slot.flights.answer(number)?)));
        let Some((number, flight)) = answered else {
            let text = "a message that answers none of ours: garbled, sent twice, or not an echo";
            return out
                .meter()
                .failure(ErrorKind::Unsolicited, None, now_ns, || text.to_owned());
        };
        if message.is_wrong || message.bytes != u64::from(self.message_bytes) {
            let text = "the peer's answer differs from what was sent; is it an echo server?";
            let intended_ns = Some(flight.intended_ns);
            return out
                .meter()
                .failure(ErrorKind::Mismatch, intended_ns, now_ns, || text.to_owned());
        }
        out.record_received(number - slot.first, now_ns);
        let meter = out.meter();
        meter.operation(flight.intended_ns, flight.sent_ns, now_ns);
        if meter.is_in_window(flight.intended_ns) {
            let taken_ns = now_ns.saturating_sub(flight.intended_ns);
            slot.answers.count += 1;
            slot.answers.sum_ns += taken_ns;
            slot.answers.longest_ns = slot.answers.longest_ns.max(taken_ns);
        }
    }

    // ---- parting ---------------------------------------------------------------------------

    /// The peer says goodbye: after ours, or of its own accord.
    fn hear_close<O: LoadOut>(
        &mut self,
        slot: &mut WebSocketSlot,
        out: &mut O,
    ) -> Result<(), Loss> {
        if matches!(self.state, State::Parting) {
            // It closes first, and has TIME_WAIT (section 7.1.1).
            return Ok(());
        }
        let said = close::parse(self.decoder.control())
            .map_err(|violation| Loss::new(ErrorKind::Protocol, sent_us(violation.why)))?;
        let code = said.map(|(code, _)| code.to_be_bytes());
        let payload = code.as_ref().map_or(&[][..], |code| code);
        frame::send_control(Opcode::Close, payload, Some(slot.key()), out);
        out.after(FAREWELL_LIMIT_NS);
        let text = match said {
            None => "the peer closed the WebSocket".to_owned(),
            Some((code, "")) => format!("the peer closed the WebSocket with status {code}"),
            Some((code, why)) => format!("the peer closed the WebSocket with status {code}: {why}"),
        };
        self.state = State::Left(Loss::new(ErrorKind::ClosedEarly, text));
        Ok(())
    }

    /// How the connection has ended that ended like this.
    fn outcome(&self, loss: impl FnOnce() -> Loss) -> Outcome {
        match &self.state {
            State::Parting => Outcome::Planned(How::Fin),
            State::Left(loss) => Outcome::Failed(loss.clone()),
            State::Open | State::Shaking(_) => Outcome::Failed(loss()),
        }
    }

    fn part_if_done<O: LoadOut>(&mut self, slot: &mut WebSocketSlot, out: &mut O) {
        let is_open = matches!(self.state, State::Open);
        if self.is_leaving && is_open && slot.flights.is_empty() {
            let code = close::NORMAL.to_be_bytes();
            frame::send_control(Opcode::Close, &code, Some(slot.key()), out);
            self.state = State::Parting;
        }
    }
}

fn not_utf8() -> Loss {
    Loss::new(ErrorKind::Protocol, sent_us(Violation::NOT_UTF8.why))
}

fn sent_us(what: &str) -> String {
    format!("the peer sent {what}")
}

// ---- what a message says -------------------------------------------------------------------

const NUMBER_MASK: u64 = (1 << (6 * NUMBER_BYTES)) - 1;

/// A number in characters from `0` to `o`, six bits each.
#[inline]
fn characters_of(number: u64) -> [u8; NUMBER_BYTES] {
    std::array::from_fn(|index| b'0' + (number >> (6 * index) & 63) as u8)
}

#[inline]
fn number_of(characters: [u8; NUMBER_BYTES]) -> Option<u64> {
    characters.iter().rev().try_fold(0, |number, character| {
        let bits = character.wrapping_sub(b'0');
        (bits < 64).then_some(number << 6 | u64::from(bits))
    })
}

/// The position in the text of byte `at` of message `number`: neighbours do not say the same.
#[inline]
fn position(number: u64, at: u64) -> u64 {
    number % u64::from(PERIOD) * 8 + at
}

/// Writes what message `number` has from its byte `at` on.
#[inline]
fn put_message(to: &mut [u8], at: usize, number: u64, region: &Region) {
    let characters = characters_of(number);
    let of_number = NUMBER_BYTES.saturating_sub(at).min(to.len());
    let (head, rest) = to.split_at_mut(of_number);
    if of_number > 0 {
        head.copy_from_slice(&characters[at..at + of_number]);
    }
    let position = position(number, (at + of_number) as u64);
    rest.copy_from_slice(region.slice(pattern::range(position, rest.len() as u32)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_eight_characters_that_are_text() {
        for number in [0, 1, 63, 64, 0x1234_5678_9abc, NUMBER_MASK] {
            let characters = characters_of(number);
            assert!(characters.iter().all(u8::is_ascii_graphic));
            assert_eq!(number_of(characters), Some(number));
        }
        assert_eq!(number_of(*b"0000 000"), None);
        assert_eq!(number_of(*b"0000p000"), None);
    }

    #[test]
    fn a_message_is_text_whatever_parts_it_is_written_in_and_unlike_its_neighbours() {
        let region = Region::new(pattern::text(SPACE_MAX as u32));
        let message = |number, cuts: &[usize]| {
            let (mut bytes, mut at) = (vec![0; 500], 0);
            for &cut in cuts.iter().chain(&[500]) {
                put_message(&mut bytes[at..cut], at, number, &region);
                at = cut;
            }
            bytes
        };
        let whole = message(7, &[]);
        assert!(whole.iter().all(u8::is_ascii_graphic));
        for cuts in [&[1][..], &[7, 8, 9], &[3, 100]] {
            assert_eq!(message(7, cuts), whole);
        }
        assert_ne!(message(8, &[])[NUMBER_BYTES..], whole[NUMBER_BYTES..]);
    }
}
