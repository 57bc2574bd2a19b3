//! The WebSocket echo role: every message comes back as what it was, text or binary.
//!
//! Nothing of a message is held. What has come of it goes back at once: a frame that is there whole as one frame, a part
//! of one as a fragment of its own, so that no more is ever promised than is there, and a close frame fits in between.
//! It is unmasked where it was received; a frame's header becomes shorter by its key, so that the replies to all
//! frames of a receive lie behind one another and go out as one.

use super::ServeWorkload;
use crate::region::Region;
use crate::session::{Hints, How, Out, Session};
use crate::websocket::frame::{self, CONTROL_MAX, Decoder, HEADER_MAX, Kind, Opcode, Piece};
use crate::websocket::handshake::{self, HEAD_MAX_BYTES};
use crate::websocket::mask::{self, Key};
use crate::websocket::utf8::Utf8;
use crate::websocket::{Violation, close};
use std::ops::Range;

/// A client that has not asked for a WebSocket after so long is sent away, ns.
const HANDSHAKE_LIMIT_NS: u64 = 10_000_000_000;
/// A client that was told why it is left has so long to end its side, ns: closing at once would reset the connection
/// under the close frame if something of the client had not been read.
const FAREWELL_LIMIT_NS: u64 = 1_000_000_000;

/// The WebSocket echo role.
#[derive(Clone, Copy, Debug)]
pub struct WebSocketServer {
    /// Bytes of a message at most; longer ones end their connection with status 1009.
    pub limit_message_bytes: u64,
}

impl ServeWorkload for WebSocketServer {
    type Session = WebSocketConnection;

    fn session(&self) -> WebSocketConnection {
        WebSocketConnection {
            state: State::Shaking(Vec::new()),
            decoder: Decoder::new(true, self.limit_message_bytes),
            text: Utf8::default(),
            is_begun: false,
        }
    }

    fn hints(&self, message_bytes: Option<u32>) -> Hints {
        Hints {
            // A message that does not fit goes back in fragments, and each costs two calls.
            receive_bytes: message_bytes
                .unwrap_or(16 * 1024)
                .saturating_add(HEADER_MAX as u32),
            bulk: false,
            brief: false,
        }
    }

    fn region(&self) -> Region {
        // Nothing is ever sent from it.
        Region::new(vec![0])
    }
}

#[derive(Debug)]
enum State {
    /// What has come of the request's head, unless it came at once.
    Shaking(Vec<u8>),
    Open,
    /// Nothing is heard any more, and the client is to end its side.
    Parting,
}

/// One connection of [`WebSocketServer`].
#[derive(Debug)]
pub struct WebSocketConnection {
    state: State,
    decoder: Decoder,
    /// The text under way.
    text: Utf8,
    /// Something of the message under way was sent back.
    is_begun: bool,
}

impl Session for WebSocketConnection {
    fn opened<O: Out>(&mut self, out: &mut O) {
        out.after(HANDSHAKE_LIMIT_NS);
    }

    fn received<O: Out>(&mut self, bytes: &mut [u8], out: &mut O) {
        match &mut self.state {
            State::Open => self.echo(bytes, 0, out),
            State::Parting => {}
            State::Shaking(held) if held.is_empty() => {
                if let Some(at) = self.shake(bytes, out) {
                    self.echo(bytes, at, out);
                }
            }
            State::Shaking(held) => {
                held.extend_from_slice(bytes);
                let held = std::mem::take(held);
                let before = held.len() - bytes.len();
                if let Some(at) = self.shake(&held, out) {
                    // A head ends in what has come last.
                    self.echo(bytes, at - before, out);
                }
            }
        }
    }

    fn awaits_sent(&self) -> bool {
        false
    }

    fn timer<O: Out>(&mut self, out: &mut O) {
        match self.state {
            State::Open => {}
            State::Parting => out.close(How::Fin),
            State::Shaking(_) => self.refuse(&handshake::too_late(), out),
        }
    }

    fn peer_finished<O: Out>(&mut self, out: &mut O) {
        out.close(How::Fin);
    }
}

impl WebSocketConnection {
    /// Answers the request whose beginning this is; returns where its head ends if the connection is open then.
    fn shake<O: Out>(&mut self, bytes: &[u8], out: &mut O) -> Option<usize> {
        let Some(reply) = handshake::judge_request(bytes) else {
            self.state = State::Shaking(bytes.to_vec());
            return None;
        };
        if !reply.accepts {
            self.refuse(&reply.text, out);
            return None;
        }
        say(reply.text.as_bytes(), out);
        self.state = State::Open;
        Some(reply.head_bytes)
    }

    /// Sends back what begins at `at`.
    #[inline]
    fn echo<O: Out>(&mut self, bytes: &mut [u8], mut at: usize, out: &mut O) {
        let mut batch = Batch { range: at..at };
        let outcome = loop {
            match self.decoder.next(bytes, &mut at) {
                Ok(None) => break Ok(()),
                Ok(Some(Piece::Data {
                    payload,
                    key,
                    kind,
                    ends_message,
                })) => {
                    let part = Part {
                        payload,
                        key,
                        kind,
                        ends_message,
                    };
                    if let Err(violation) = self.send_back(bytes, part, &mut batch, out) {
                        break Err(violation);
                    }
                }
                Ok(Some(Piece::Control(Opcode::Ping))) => {
                    batch.flush(out);
                    frame::send_control(Opcode::Pong, self.decoder.control(), None, out);
                }
                Ok(Some(Piece::Control(Opcode::Close))) => {
                    batch.flush(out);
                    return self.answer_close(out);
                }
                Ok(Some(Piece::Control(_))) => {}
                Err(violation) => break Err(violation),
            }
        };
        batch.flush(out);
        if let Err(violation) = outcome {
            self.fail(violation, out);
        }
    }

    /// Adds a part of a message to what goes back, unless it is text that is none.
    #[inline]
    fn send_back<O: Out>(
        &mut self,
        bytes: &mut [u8],
        part: Part,
        batch: &mut Batch,
        out: &mut O,
    ) -> Result<(), Violation> {
        let (kind, ends_message) = (part.kind, part.ends_message);
        if !part.payload.is_empty() || ends_message {
            let place = batch.unmask(bytes, part);
            if kind == Kind::Text && !self.text.push(&bytes[place.payload.clone()]) {
                return Err(Violation::NOT_UTF8);
            }
            if ends_message && !self.text.is_complete() {
                return Err(Violation::NOT_UTF8);
            }
            let opcode = match self.is_begun {
                true => Opcode::Continuation,
                false => kind.opcode(),
            };
            batch.add(bytes, place, ends_message, opcode, out);
            self.is_begun = !ends_message;
        }
        Ok(())
    }

    /// The client says goodbye: so do we, and close (section 5.5.1: with the code that was received; the server first).
    fn answer_close<O: Out>(&mut self, out: &mut O) {
        match close::parse(self.decoder.control()) {
            Err(violation) => self.fail(violation, out),
            Ok(said) => {
                let code = said.map(|(code, _)| code.to_be_bytes());
                frame::send_control(
                    Opcode::Close,
                    code.as_ref().map_or(&[], |code| code),
                    None,
                    out,
                );
                self.state = State::Parting;
                out.close(How::Fin);
            }
        }
    }

    fn fail<O: Out>(&mut self, violation: Violation, out: &mut O) {
        let mut payload = violation.code.to_be_bytes().to_vec();
        payload.extend_from_slice(violation.why.as_bytes());
        payload.truncate(CONTROL_MAX);
        frame::send_control(Opcode::Close, &payload, None, out);
        self.part(out);
    }

    /// Says why there is no WebSocket.
    fn refuse<O: Out>(&mut self, answer: &str, out: &mut O) {
        say(answer.as_bytes(), out);
        self.part(out);
    }

    /// The last was said: waits for the client to end its side.
    fn part<O: Out>(&mut self, out: &mut O) {
        self.state = State::Parting;
        out.shutdown_write();
        out.after(FAREWELL_LIMIT_NS);
    }
}

/// A part of a message as it was received.
struct Part {
    payload: Range<usize>,
    key: Key,
    kind: Kind,
    ends_message: bool,
}

/// Replies that lie behind one another in the receive buffer and have not been asked for.
struct Batch {
    range: Range<usize>,
}

/// Where a part of a message is, unmasked.
struct Place {
    payload: Range<usize>,
    /// Where its header is to be; `None` where there is no room for one: the part is the rest of a frame whose header
    /// was received before.
    header_at: Option<usize>,
}

impl Batch {
    /// Unmasks a part, and moves it as far down as it may go: behind its header, behind what there is.
    #[inline]
    fn unmask(&self, bytes: &mut [u8], part: Part) -> Place {
        let Part { payload, key, .. } = part;
        let header_bytes = frame::header_bytes(payload.len(), false);
        if self.range.end + header_bytes > payload.start {
            mask::apply(&mut bytes[payload.clone()], key);
            return Place {
                payload,
                header_at: None,
            };
        }
        let header_at = match self.range.is_empty() {
            // Nothing is there to lie behind: it need not be moved.
            true => payload.start - header_bytes,
            false => self.range.end,
        };
        let (to, length) = (header_at + header_bytes, payload.len());
        mask::apply_moving(bytes, payload, to, key);
        Place {
            payload: to..to + length,
            header_at: Some(header_at),
        }
    }

    /// Makes a frame of what was unmasked.
    #[inline]
    fn add<O: Out>(
        &mut self,
        bytes: &mut [u8],
        place: Place,
        is_last: bool,
        opcode: Opcode,
        out: &mut O,
    ) {
        let Place { payload, header_at } = place;
        let length = payload.len();
        let Some(header_at) = header_at else {
            self.flush(out);
            let space = out.space(frame::header_bytes(length, false));
            frame::put_header(space, is_last, opcode, length, None);
            self.range = payload;
            return;
        };
        frame::put_header(&mut bytes[header_at..], is_last, opcode, length, None);
        if self.range.is_empty() {
            self.range.start = header_at;
        }
        self.range.end = payload.end;
    }

    /// Asks for what there is.
    #[inline]
    fn flush<O: Out>(&mut self, out: &mut O) {
        let range = std::mem::replace(&mut self.range, 0..0);
        if !range.is_empty() {
            out.echo(range.start as u32..range.end as u32);
        }
    }
}

fn say<O: Out>(text: &[u8], out: &mut O) {
    debug_assert!(text.len() <= 2 * HEAD_MAX_BYTES, "fits into a space");
    out.space(text.len()).copy_from_slice(text);
}
