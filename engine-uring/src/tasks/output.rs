//! What a session has asked to send and the kernel has not taken yet, as owned pieces.

use super::buffer::{Block, Piece, Pool, SharedPattern};
use engine::meter::Meter;
use engine::proactor::How;
use engine::session::Out;
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

/// Something queued.
#[derive(Debug)]
enum Chunk {
    /// To be sent.
    Piece(Piece),
    /// A range of the block that the session is being told about; only until
    /// [`Output::settle`].
    Echo(Range<usize>),
}

/// The output of one connection, oldest first.
#[derive(Debug)]
pub struct Output {
    chunks: VecDeque<Chunk>,
    pattern: SharedPattern,
    /// Chunks that are still [`Chunk::Echo`].
    unsettled: usize,
    /// Bytes that were received and are to go back, those of the send in flight included: what
    /// not receiving can stop from growing.
    echo_bytes: usize,
    /// FIN is to follow the last piece.
    pub shutdown: bool,
    /// The connection is to be closed: after the last piece (FIN) or at once (RST).
    pub close: Option<How>,
}

impl Output {
    /// Above this many bytes of echoes nothing is received; below half of it again.
    pub const PAUSE_BYTES: usize = 512 * 1024;

    /// An empty one.
    pub fn new(pattern: SharedPattern) -> Self {
        Self {
            chunks: VecDeque::new(),
            pattern,
            unsettled: 0,
            echo_bytes: 0,
            shutdown: false,
            close: None,
        }
    }

    /// Forgets everything, for the next connection.
    pub fn clear(&mut self) {
        self.chunks.clear();
        self.unsettled = 0;
        self.echo_bytes = 0;
        self.shutdown = false;
        self.close = None;
    }

    /// Nothing is queued (a piece may be in flight).
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// See [`Output::PAUSE_BYTES`].
    pub fn echo_bytes(&self) -> usize {
        self.echo_bytes
    }

    /// Takes the oldest piece, to send it.
    #[inline]
    pub fn take(&mut self) -> Option<Piece> {
        match self.chunks.pop_front()? {
            Chunk::Piece(piece) => Some(piece),
            Chunk::Echo(_) => unreachable!("settled before anything is sent"),
        }
    }

    /// The kernel took `bytes` of `piece`; what is left of it is the oldest again.
    #[inline]
    pub fn taken(&mut self, mut piece: Piece, bytes: usize) {
        let echoed_before = piece.echo_len();
        piece.advance(bytes);
        self.echo_bytes -= echoed_before - piece.echo_len();
        if piece.len() > 0 {
            self.chunks.push_front(Chunk::Piece(piece));
        }
    }

    #[inline]
    fn push_shared(&mut self, range: Range<u32>) {
        if range.is_empty() {
            return;
        }
        if let Some(Chunk::Piece(Piece::Shared(_, last))) = self.chunks.back_mut()
            && last.end == range.start
        {
            last.end = range.end;
            return;
        }
        let piece = Piece::Shared(Rc::clone(&self.pattern), range);
        self.chunks.push_back(Chunk::Piece(piece));
    }

    #[inline]
    fn push_echo(&mut self, range: Range<u32>) {
        if !range.is_empty() {
            self.unsettled += 1;
            let range = range.start as usize..range.end as usize;
            self.echo_bytes += range.len();
            self.chunks.push_back(Chunk::Echo(range));
        }
    }

    /// After a session was told about `block`: what it echoed of it is sent from it, or from
    /// copies where that saves memory; the rest of it is given back.
    #[inline]
    pub fn settle(&mut self, mut block: Block, pool: &Rc<Pool>) {
        if self.unsettled == 0 {
            return;
        }
        if self.unsettled == 1
            && let Some(Chunk::Echo(range)) = self.chunks.back()
        {
            let range = range.clone();
            self.chunks.pop_back();
            self.unsettled = 0;
            block.narrow(range);
            if !self.join(block.bytes()) {
                self.chunks.push_back(Chunk::Piece(Piece::Block(block)));
            }
            return;
        }
        self.copy_out(&block, pool);
    }

    /// Adds bytes to the last piece, if that is a block with room for them. Whoever sends faster
    /// than it reads would otherwise fill a block with each of its segments, however small.
    #[inline]
    fn join(&mut self, bytes: &[u8]) -> bool {
        match self.chunks.back_mut() {
            Some(Chunk::Piece(Piece::Block(last))) => last.append(bytes),
            _ => false,
        }
    }

    /// Copies every range that was echoed: a block can be sent once only.
    #[cold]
    fn copy_out(&mut self, block: &Block, pool: &Rc<Pool>) {
        for chunk in &mut self.chunks {
            if let Chunk::Echo(range) = chunk {
                let mut copy = pool.take();
                let fits = copy.append(&block.bytes()[range.clone()]);
                debug_assert!(fits, "blocks of a pool are of one size");
                *chunk = Chunk::Piece(Piece::Block(copy));
            }
        }
        self.unsettled = 0;
    }
}

/// How a session answers while it is being told something.
pub struct Speaker<'a> {
    /// Takes what it says.
    pub output: &'a mut Output,
    /// Records.
    pub meter: &'a mut Meter,
    /// The instant of the event, monotonic ns.
    pub now_ns: u64,
}

impl Out for Speaker<'_> {
    #[inline]
    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    #[inline]
    fn echo(&mut self, range: Range<u32>) {
        self.output.push_echo(range);
    }

    #[inline]
    fn shared(&mut self, range: Range<u32>) {
        self.output.push_shared(range);
    }

    fn shutdown_write(&mut self) {
        self.output.shutdown = true;
    }

    fn close(&mut self, how: How) {
        self.output.close = Some(how);
    }

    #[inline]
    fn meter(&mut self) -> &mut Meter {
        self.meter
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::pattern::Pattern;
    use std::sync::Arc;

    fn fixture(block_bytes: usize) -> (Output, Rc<Pool>, SharedPattern) {
        let pattern: SharedPattern = Rc::new(Arc::new(Pattern::new(1_000)));
        (
            Output::new(Rc::clone(&pattern)),
            Pool::new(block_bytes),
            pattern,
        )
    }

    fn filled(pool: &Rc<Pool>, bytes: &[u8]) -> Block {
        let mut block = pool.take();
        assert!(block.append(bytes));
        block
    }

    fn all(output: &mut Output) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| output.take())
            .map(|piece| piece.bytes().to_vec())
            .collect()
    }

    #[test]
    fn a_whole_echo_is_the_block_itself() {
        let (mut output, pool, _) = fixture(8);
        let block = filled(&pool, b"12345678");
        let address = block.bytes().as_ptr();
        output.push_echo(0..8);
        output.settle(block, &pool);
        assert_eq!(output.echo_bytes(), 8);
        let piece = output.take().unwrap();
        assert_eq!(piece.bytes().as_ptr(), address);
        output.taken(piece, 8);
        assert_eq!((output.echo_bytes(), output.is_empty()), (0, true));
    }

    #[test]
    fn small_echoes_that_wait_share_a_block() {
        let (mut output, pool, _) = fixture(8);
        for bytes in [&b"abc"[..], b"de", b"fghi"] {
            output.push_echo(0..bytes.len() as u32);
            output.settle(filled(&pool, bytes), &pool);
        }
        assert_eq!(output.echo_bytes(), 9);
        assert_eq!(all(&mut output), [b"abcde".to_vec(), b"fghi".to_vec()]);
    }

    #[test]
    fn parts_and_pattern_keep_their_order() {
        let (mut output, pool, pattern) = fixture(16);
        output.push_shared(0..4);
        output.push_echo(1..3);
        output.push_shared(10..12);
        output.push_shared(12..15);
        output.push_echo(4..6);
        output.settle(filled(&pool, b"0123456"), &pool);
        let expected = [
            pattern.slice(0..4).to_vec(),
            b"12".to_vec(),
            pattern.slice(10..15).to_vec(),
            b"45".to_vec(),
        ];
        assert_eq!(all(&mut output), expected);
    }

    #[test]
    fn a_single_part_before_the_pattern_keeps_its_place() {
        let (mut output, pool, pattern) = fixture(16);
        output.push_echo(0..3);
        output.push_shared(5..9);
        output.settle(filled(&pool, b"abc"), &pool);
        assert_eq!(
            all(&mut output),
            [b"abc".to_vec(), pattern.slice(5..9).to_vec()]
        );
    }

    #[test]
    fn what_a_short_send_left_is_the_oldest() {
        let (mut output, pool, _) = fixture(4);
        for bytes in [b"abcd", b"efgh"] {
            output.push_echo(0..4);
            output.settle(filled(&pool, bytes), &pool);
        }
        let piece = output.take().unwrap();
        output.taken(piece, 3);
        assert_eq!(output.echo_bytes(), 5);
        assert_eq!(all(&mut output), [b"d".to_vec(), b"efgh".to_vec()]);
    }
}
