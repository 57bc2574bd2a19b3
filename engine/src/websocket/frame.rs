//! Frames (RFC 6455 section 5.2), read from any segmentation without holding a payload.

use super::Violation;
use super::mask::{self, Key};
use crate::session::Out;
use std::ops::Range;

/// The longest header: two bytes, a length of eight and a key.
pub const HEADER_MAX: usize = 14;
/// The longest payload of a control frame (section 5.5).
pub const CONTROL_MAX: usize = 125;

/// What a frame is. Reserved opcodes are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// More of a message.
    Continuation,
    /// A message of text, or its beginning.
    Text,
    /// A message of bytes, or its beginning.
    Binary,
    /// The end of the connection.
    Close,
    /// A question for a pong.
    Ping,
    /// Its answer.
    Pong,
}

impl Opcode {
    fn of(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    fn is_control(self) -> bool {
        self.bits() >= 8
    }
}

/// What a message is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

impl Kind {
    /// The opcode of its first frame.
    pub fn opcode(self) -> Opcode {
        match self {
            Self::Text => Opcode::Text,
            Self::Binary => Opcode::Binary,
        }
    }
}

/// Bytes of the header of a frame with such a payload.
#[inline]
pub fn header_bytes(payload_bytes: usize, masked: bool) -> usize {
    let length = match payload_bytes {
        0..=125 => 0,
        126..=0xffff => 2,
        _ => 8,
    };
    2 + length + if masked { 4 } else { 0 }
}

/// Writes a header to the beginning of `to` and returns its length, [`header_bytes`].
#[inline]
pub fn put_header(
    to: &mut [u8],
    is_last: bool,
    opcode: Opcode,
    payload_bytes: usize,
    key: Option<Key>,
) -> usize {
    to[0] = u8::from(is_last) << 7 | opcode.bits();
    let mask_bit = u8::from(key.is_some()) << 7;
    let end = match payload_bytes {
        0..=125 => {
            to[1] = mask_bit | payload_bytes as u8;
            2
        }
        126..=0xffff => {
            to[1] = mask_bit | 126;
            to[2..4].copy_from_slice(&(payload_bytes as u16).to_be_bytes());
            4
        }
        _ => {
            to[1] = mask_bit | 127;
            to[2..10].copy_from_slice(&(payload_bytes as u64).to_be_bytes());
            10
        }
    };
    match key {
        None => end,
        Some(key) => {
            to[end..end + 4].copy_from_slice(&key);
            end + 4
        }
    }
}

/// Sends a control frame, masked if there is a key.
pub fn send_control<O: Out>(opcode: Opcode, payload: &[u8], key: Option<Key>, out: &mut O) {
    let space = out.space(header_bytes(payload.len(), key.is_some()) + payload.len());
    let header = put_header(space, true, opcode, payload.len(), key);
    let to = &mut space[header..];
    to.copy_from_slice(payload);
    if let Some(key) = key {
        mask::apply(to, key);
    }
}

/// A header that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    is_last: bool,
    opcode: Opcode,
    payload_bytes: u64,
    key: Option<Key>,
    /// Its own length.
    bytes: usize,
}

impl Header {
    /// Reads a header from the beginning of `bytes`; `None` if it is not there whole.
    #[inline]
    fn read(bytes: &[u8]) -> Result<Option<Self>, Violation> {
        let Some(&[first, second]) = bytes.first_chunk::<2>() else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(Violation::protocol(
                "a reserved bit, and no extension was agreed",
            ));
        }
        let opcode = Opcode::of(first & 0x0f).ok_or(Violation::protocol("a reserved opcode"))?;
        let (payload_bytes, after_length) = match second & 0x7f {
            126 => match bytes[2..].first_chunk::<2>() {
                None => return Ok(None),
                Some(length) => (u64::from(u16::from_be_bytes(*length)), 4),
            },
            127 => match bytes[2..].first_chunk::<8>() {
                None => return Ok(None),
                Some(length) => (u64::from_be_bytes(*length), 10),
            },
            short => (u64::from(short), 2),
        };
        let least = [0, 126, 0x1_0000][usize::from(second & 0x7f).saturating_sub(125)];
        if payload_bytes < least || payload_bytes >> 63 != 0 {
            return Err(Violation::protocol(
                "a length that is not in its shortest form",
            ));
        }
        let is_masked = second & 0x80 != 0;
        let key = match bytes[after_length..].first_chunk::<4>() {
            _ if !is_masked => None,
            None => return Ok(None),
            Some(key) => Some(*key),
        };
        Ok(Some(Self {
            is_last: first & 0x80 != 0,
            opcode,
            payload_bytes,
            key,
            bytes: after_length + if is_masked { 4 } else { 0 },
        }))
    }
}

/// What was read next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A part of a message.
    Data {
        /// Where its bytes are, masked by `key`; empty for a frame without payload.
        payload: Range<usize>,
        /// The key, its first byte for the first of these bytes.
        key: Key,
        /// What the message is made of.
        kind: Kind,
        /// The message ends with it.
        ends_message: bool,
    },
    /// A control frame: its payload is [`Decoder::control`].
    Control(Opcode),
}

/// Reads the frames of one direction of a connection.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// Frames come from a client, and so must be masked; from a server, and must not be.
    from_client: bool,
    /// Bytes of a message at most.
    limit_bytes: u64,
    /// A header of which a part has come.
    header: [u8; HEADER_MAX],
    header_bytes: u8,
    /// The message that is under way.
    message: Option<Kind>,
    message_bytes: u64,
    /// Of its frame that is under way: what has not come, its key for that, and whether it is the last.
    left_bytes: u64,
    key: Key,
    is_last: bool,
    /// The control frame that is under way, or was read last.
    control: [u8; CONTROL_MAX],
    control_bytes: u8,
    control_left: u8,
    control_opcode: Opcode,
}

impl Decoder {
    /// For what a client sends (`from_client`), or a server; messages have at most `limit_bytes`.
    pub fn new(from_client: bool, limit_bytes: u64) -> Self {
        Self {
            from_client,
            limit_bytes,
            header: [0; HEADER_MAX],
            header_bytes: 0,
            message: None,
            message_bytes: 0,
            left_bytes: 0,
            key: [0; 4],
            is_last: false,
            control: [0; CONTROL_MAX],
            control_bytes: 0,
            control_left: 0,
            control_opcode: Opcode::Pong,
        }
    }

    /// The payload of the control frame that was read last, unmasked.
    pub fn control(&self) -> &[u8] {
        &self.control[..usize::from(self.control_bytes)]
    }

    /// Reads on from `*at`, and moves it behind what was read; `None` if nothing more is complete.
    ///
    /// # Errors
    /// What the protocol forbids. Nothing may be read afterwards.
    #[inline]
    pub fn next(&mut self, bytes: &[u8], at: &mut usize) -> Result<Option<Piece>, Violation> {
        loop {
            if self.left_bytes > 0 {
                return Ok(self.read_data(bytes, at));
            }
            if self.control_left > 0 {
                return Ok(self.read_control(bytes, at));
            }
            let Some(header) = self.read_header(bytes, at)? else {
                return Ok(None);
            };
            self.begin(header)?;
            if header.payload_bytes == 0 {
                return Ok(Some(match header.opcode.is_control() {
                    true => Piece::Control(header.opcode),
                    false => self.data(*at..*at),
                }));
            }
        }
    }

    fn read_header(&mut self, bytes: &[u8], at: &mut usize) -> Result<Option<Header>, Violation> {
        if self.header_bytes == 0
            && let Some(header) = Header::read(&bytes[*at..])?
        {
            *at += header.bytes;
            return Ok(Some(header));
        }
        while let Some(&byte) = bytes.get(*at) {
            *at += 1;
            self.header[usize::from(self.header_bytes)] = byte;
            self.header_bytes += 1;
            let held = &self.header[..usize::from(self.header_bytes)];
            if let Some(header) = Header::read(held)? {
                self.header_bytes = 0;
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// A frame begins.
    fn begin(&mut self, header: Header) -> Result<(), Violation> {
        if header.key.is_some() != self.from_client {
            return Err(Violation::protocol(match self.from_client {
                true => "a frame of a client that is not masked",
                false => "a frame of a server that is masked",
            }));
        }
        self.key = header.key.unwrap_or_default();
        if header.opcode.is_control() {
            return self.begin_control(header);
        }
        let kind = match (header.opcode, self.message) {
            (Opcode::Continuation, Some(kind)) => kind,
            (Opcode::Continuation, None) => {
                return Err(Violation::protocol("a continuation of nothing"));
            }
            (_, Some(_)) => {
                return Err(Violation::protocol(
                    "a message that begins before the last one has ended",
                ));
            }
            (Opcode::Text, None) => Kind::Text,
            (_, None) => Kind::Binary,
        };
        if self.message.is_none() {
            self.message_bytes = 0;
        }
        self.message = Some(kind);
        self.message_bytes = self.message_bytes.saturating_add(header.payload_bytes);
        if self.message_bytes > self.limit_bytes {
            return Err(Violation::TOO_BIG);
        }
        self.left_bytes = header.payload_bytes;
        self.is_last = header.is_last;
        Ok(())
    }

    fn begin_control(&mut self, header: Header) -> Result<(), Violation> {
        if !header.is_last {
            return Err(Violation::protocol("a control frame in fragments"));
        }
        if header.payload_bytes > CONTROL_MAX as u64 {
            return Err(Violation::protocol(
                "a control frame of more than 125 bytes",
            ));
        }
        self.control_opcode = header.opcode;
        self.control_bytes = 0;
        self.control_left = header.payload_bytes as u8;
        Ok(())
    }

    fn read_data(&mut self, bytes: &[u8], at: &mut usize) -> Option<Piece> {
        let there = (bytes.len() - *at) as u64;
        let taken = there.min(self.left_bytes) as usize;
        if taken == 0 {
            return None;
        }
        let payload = *at..*at + taken;
        *at += taken;
        self.left_bytes -= taken as u64;
        Some(self.data(payload))
    }

    fn data(&mut self, payload: Range<usize>) -> Piece {
        let key = self.key;
        self.key = mask::rotated(key, payload.len());
        let ends_message = self.is_last && self.left_bytes == 0;
        let kind = self.message.unwrap_or(Kind::Binary);
        if ends_message {
            self.message = None;
        }
        Piece::Data {
            payload,
            key,
            kind,
            ends_message,
        }
    }

    fn read_control(&mut self, bytes: &[u8], at: &mut usize) -> Option<Piece> {
        let taken = (bytes.len() - *at).min(usize::from(self.control_left));
        let from = usize::from(self.control_bytes);
        let part = &mut self.control[from..from + taken];
        part.copy_from_slice(&bytes[*at..*at + taken]);
        mask::apply(part, self.key);
        self.key = mask::rotated(self.key, taken);
        *at += taken;
        self.control_bytes += taken as u8;
        self.control_left -= taken as u8;
        (self.control_left == 0).then_some(Piece::Control(self.control_opcode))
    }
}

#[cfg(test)]
mod tests;
