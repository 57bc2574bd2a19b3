//! The server's end of a WebSocket, blocking, for servers that misbehave. What is right and wrong on the wire is judged
//! elsewhere: by other implementations, and by the rules of the RFC.

use crate::raw::Conn;
use engine::websocket::frame::{self, Decoder, Kind, Opcode, Piece};
use engine::websocket::{handshake, mask};
use std::io::Read;

/// What a client said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A whole message.
    Message(Kind, Vec<u8>),
    /// A control frame.
    Control(Opcode, Vec<u8>),
}

/// One connection of a server.
pub struct WebSocket {
    /// The connection below.
    pub conn: Conn,
    decoder: Decoder,
    message: Vec<u8>,
    /// Received and not read.
    bytes: Vec<u8>,
    at: usize,
}

impl WebSocket {
    /// Answers the handshake of a client; `None` if it does not come.
    pub fn accept(conn: Conn) -> Option<Self> {
        let mut head = Vec::new();
        loop {
            let mut byte = [0];
            if (&conn.0).read(&mut byte).ok()? == 0 {
                return None;
            }
            head.push(byte[0]);
            if let Some(reply) = handshake::judge_request(&head) {
                assert!(reply.accepts, "{}", reply.text);
                conn.say(reply.text.as_bytes());
                break;
            }
        }
        Some(Self {
            conn,
            decoder: Decoder::new(true, 1 << 30),
            message: Vec::new(),
            bytes: Vec::new(),
            at: 0,
        })
    }

    /// The next that the client says; `None` once it has ended.
    ///
    /// # Panics
    /// When it breaks the protocol.
    pub fn hear(&mut self) -> Option<Said> {
        loop {
            match self
                .decoder
                .next(&self.bytes, &mut self.at)
                .expect("frames")
            {
                Some(Piece::Control(opcode)) => {
                    return Some(Said::Control(opcode, self.decoder.control().to_vec()));
                }
                Some(Piece::Data {
                    payload,
                    key,
                    kind,
                    ends_message,
                }) => {
                    let mut part = self.bytes[payload].to_vec();
                    mask::apply(&mut part, key);
                    self.message.extend_from_slice(&part);
                    if ends_message {
                        return Some(Said::Message(kind, std::mem::take(&mut self.message)));
                    }
                }
                None => {
                    self.bytes.resize(64 * 1024, 0);
                    self.at = 0;
                    let length = (&self.conn.0).read(&mut self.bytes).unwrap_or(0);
                    self.bytes.truncate(length);
                    if length == 0 {
                        return None;
                    }
                }
            }
        }
    }

    /// The next message of the client; answers its goodbye, closes and returns `None` at the end.
    pub fn hear_message(&mut self) -> Option<(Kind, Vec<u8>)> {
        loop {
            match self.hear()? {
                Said::Message(kind, bytes) => return Some((kind, bytes)),
                Said::Control(Opcode::Close, payload) => {
                    self.try_say(Opcode::Close, &payload);
                    return None;
                }
                Said::Control(..) => {}
            }
        }
    }

    /// Sends a frame.
    pub fn say(&self, opcode: Opcode, payload: &[u8]) {
        self.conn.say(&frame(true, opcode, payload));
    }

    /// Sends a message as what it was.
    pub fn say_back(&self, kind: Kind, payload: &[u8]) {
        self.try_say(kind.opcode(), payload);
    }

    /// Sends a frame to a client that may be gone.
    pub fn try_say(&self, opcode: Opcode, payload: &[u8]) {
        use std::io::Write;
        let _ = (&self.conn.0).write_all(&frame(true, opcode, payload));
    }
}

/// A frame of a server.
pub fn frame(is_last: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; frame::header_bytes(payload.len(), false)];
    frame::put_header(&mut bytes, is_last, opcode, payload.len(), None);
    bytes.extend_from_slice(payload);
    bytes
}
