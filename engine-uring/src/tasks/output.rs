//! What a session has asked to send and the kernel has not taken yet, as owned pieces.

use super::buffer::{Block, Piece, Pool, SharedRegion};
use engine::clock::now_ns;
use engine::outbox::budget;
use engine::session::{How, Out, SPACE_MAX};
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
    region: SharedRegion,
    pool: Rc<Pool>,
    /// Chunks that are still [`Chunk::Echo`].
    unsettled: usize,
    /// Bytes that wait in blocks, those of the send in flight included: what not receiving can stop
    /// from growing.
    held_bytes: usize,
    /// Bytes of it that are counted for the whole process.
    counted_bytes: usize,
    /// FIN is to follow the last piece.
    pub shutdown: bool,
    /// The connection is to be closed: after the last piece (FIN) or at once (RST).
    pub close: Option<How>,
    /// When the session wants its timer called, ns (testees; a load's life keeps its own).
    pub timer_ns: Option<u64>,
}

impl Output {
    /// Above this many bytes in blocks nothing is received; below half of it again.
    const PAUSE_BYTES: usize = 512 * 1024;

    /// So many bytes in blocks are not counted in what all connections of the process may hold: an
    /// answer that is just going out.
    const UNCOUNTED_BYTES: usize = 16 * 1024;

    /// Bytes in blocks above which nothing is received; below half of it, or with nothing left, again.
    #[inline]
    pub fn pause_bytes(&self) -> usize {
        match budget::PROCESS.is_exceeded() {
            true => Self::UNCOUNTED_BYTES,
            false => Self::PAUSE_BYTES,
        }
    }

    /// Counts what is held in what all connections of the process hold.
    #[inline]
    fn account(&mut self) {
        let counted = self.held_bytes.saturating_sub(Self::UNCOUNTED_BYTES);
        if counted == self.counted_bytes {
            return;
        }
        if counted > self.counted_bytes {
            budget::PROCESS.take((counted - self.counted_bytes) as u64);
        } else if budget::PROCESS.put((self.counted_bytes - counted) as u64) {
            self.pool.forget();
            budget::give_memory_back();
        }
        self.counted_bytes = counted;
    }

    /// An empty one.
    pub fn new(region: SharedRegion, pool: Rc<Pool>) -> Self {
        Self {
            chunks: VecDeque::new(),
            region,
            pool,
            unsettled: 0,
            held_bytes: 0,
            counted_bytes: 0,
            shutdown: false,
            close: None,
            timer_ns: None,
        }
    }

    /// Forgets everything, for the next connection.
    pub fn clear(&mut self) {
        self.chunks.clear();
        self.unsettled = 0;
        self.held_bytes = 0;
        self.account();
        self.shutdown = false;
        self.close = None;
        self.timer_ns = None;
    }

    /// Nothing is queued (a piece may be in flight).
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// See [`Output::PAUSE_BYTES`].
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
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
        let held_before = piece.held_len();
        piece.advance(bytes);
        self.held_bytes -= held_before - piece.held_len();
        self.account();
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
        let piece = Piece::Shared(Rc::clone(&self.region), range);
        self.chunks.push_back(Chunk::Piece(piece));
    }

    /// Room for bytes of the session's own, see [`Out::space`].
    fn space(&mut self, bytes: usize) -> &mut [u8] {
        assert!(
            (1..=SPACE_MAX).contains(&bytes),
            "1 to {SPACE_MAX} bytes at a time"
        );
        let fits = matches!(
            self.chunks.back(),
            Some(Chunk::Piece(Piece::Block(last))) if last.room() >= bytes
        );
        if !fits {
            let block = self.pool.own().take();
            self.chunks.push_back(Chunk::Piece(Piece::Block(block)));
        }
        self.held_bytes += bytes;
        self.account();
        match self.chunks.back_mut() {
            Some(Chunk::Piece(Piece::Block(block))) => block.extend(bytes),
            _ => unreachable!("it was pushed just now"),
        }
    }

    #[inline]
    fn push_echo(&mut self, range: Range<u32>) {
        if !range.is_empty() {
            self.unsettled += 1;
            let range = range.start as usize..range.end as usize;
            self.held_bytes += range.len();
            self.account();
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

impl Drop for Output {
    fn drop(&mut self) {
        self.clear();
    }
}

/// How a session answers while it is being told something.
pub struct Speaker<'a> {
    /// Takes what it says.
    pub output: &'a mut Output,
    /// The instant of the event, monotonic ns; 0 until somebody asks.
    pub now_ns: u64,
}

impl Out for Speaker<'_> {
    #[inline]
    fn now_ns(&mut self) -> u64 {
        if self.now_ns == 0 {
            self.now_ns = now_ns();
        }
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

    fn space(&mut self, bytes: usize) -> &mut [u8] {
        self.output.space(bytes)
    }

    fn after(&mut self, delay_ns: u64) {
        self.output.timer_ns = Some(self.now_ns().saturating_add(delay_ns));
    }

    fn shutdown_write(&mut self) {
        self.output.shutdown = true;
    }

    fn close(&mut self, how: How) {
        self.output.close = Some(how);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::pattern;
    use std::sync::Arc;

    fn fixture(block_bytes: usize) -> (Output, Rc<Pool>, SharedRegion) {
        let region: SharedRegion = Rc::new(Arc::new(pattern::region(1_000)));
        let pool = Pool::new(block_bytes);
        let output = Output::new(Rc::clone(&region), Rc::clone(&pool));
        (output, pool, region)
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
        assert_eq!(output.held_bytes(), 8);
        let piece = output.take().unwrap();
        assert_eq!(piece.bytes().as_ptr(), address);
        output.taken(piece, 8);
        assert_eq!((output.held_bytes(), output.is_empty()), (0, true));
    }

    #[test]
    fn small_echoes_that_wait_share_a_block() {
        let (mut output, pool, _) = fixture(8);
        for bytes in [&b"abc"[..], b"de", b"fghi"] {
            output.push_echo(0..bytes.len() as u32);
            output.settle(filled(&pool, bytes), &pool);
        }
        assert_eq!(output.held_bytes(), 9);
        assert_eq!(all(&mut output), [b"abcde".to_vec(), b"fghi".to_vec()]);
    }

    #[test]
    fn parts_and_region_keep_their_order() {
        let (mut output, pool, region) = fixture(16);
        output.push_shared(0..4);
        output.push_echo(1..3);
        output.push_shared(10..12);
        output.push_shared(12..15);
        output.push_echo(4..6);
        output.settle(filled(&pool, b"0123456"), &pool);
        let expected = [
            region.slice(0..4).to_vec(),
            b"12".to_vec(),
            region.slice(10..15).to_vec(),
            b"45".to_vec(),
        ];
        assert_eq!(all(&mut output), expected);
    }

    #[test]
    fn a_single_part_before_the_region_keeps_its_place() {
        let (mut output, pool, region) = fixture(16);
        output.push_echo(0..3);
        output.push_shared(5..9);
        output.settle(filled(&pool, b"abc"), &pool);
        assert_eq!(
            all(&mut output),
            [b"abc".to_vec(), region.slice(5..9).to_vec()]
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
        assert_eq!(output.held_bytes(), 5);
        assert_eq!(all(&mut output), [b"d".to_vec(), b"efgh".to_vec()]);
    }

    #[test]
    fn what_a_session_writes_itself_goes_out_in_its_place() {
        let (mut output, pool, region) = fixture(16);
        output.space(3).copy_from_slice(b"abc");
        output.push_shared(0..2);
        output.push_echo(0..4);
        output.settle(filled(&pool, b"0123"), &pool);
        output.space(2)[1] = b'z';
        output.space(SPACE_MAX).fill(7);
        assert_eq!(output.held_bytes(), 3 + 4 + 2 + SPACE_MAX);
        let expected = [
            b"abc".to_vec(),
            region.slice(0..2).to_vec(),
            b"0123\0z".to_vec(),
            vec![7; SPACE_MAX],
        ];
        assert!(all(&mut output) == expected);
    }
}
