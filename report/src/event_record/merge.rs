//! All events of a record, in the order of time or of the file.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Read, Seek};

use super::Placed;
use super::read::{Chunk, Recording};

/// A chunk that is being merged.
struct Open {
    /// What is left of its events, the next one last.
    events: Vec<Placed>,
}

impl Open {
    fn next_ns(&self) -> Option<u64> {
        self.events.last().map(|placed| placed.event.at_ns)
    }
}

impl<R: Read + Seek> Recording<R> {
    /// Tells every event that can be read, the earliest first; those of the same instant in the order of the file. In memory are
    /// the chunks that overlap in time: one or two of each worker.
    ///
    /// # Errors
    /// What the system answers, and what `tell` does.
    pub fn each_in_time(
        &mut self,
        mut tell: impl FnMut(&Placed) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut waiting: Vec<(usize, Chunk)> = self.chunks.iter().copied().enumerate().collect();
        waiting.sort_by_key(|(number, chunk)| Reverse((chunk.first_ns(), *number)));
        let mut open: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
        let mut chunks: std::collections::BTreeMap<usize, Open> = Default::default();
        loop {
            let next_ns = open.peek().map_or(u64::MAX, |Reverse((at_ns, _))| *at_ns);
            if let Some((number, chunk)) =
                waiting.pop_if(|(_, chunk)| open.is_empty() || chunk.first_ns() <= next_ns)
            {
                let mut events = self.events(&chunk)?;
                // Stable, and turned round: of the same instant the first in the file is the last here.
                events.reverse();
                events.sort_by_key(|placed| Reverse(placed.event.at_ns));
                let opened = Open { events };
                open.extend(opened.next_ns().map(|at_ns| Reverse((at_ns, number))));
                chunks.insert(number, opened);
                continue;
            }
            let Some(Reverse((_, number))) = open.pop() else {
                return Ok(());
            };
            if let Some(chunk) = chunks.get_mut(&number) {
                if let Some(placed) = chunk.events.pop() {
                    tell(&placed)?;
                }
                match chunk.next_ns() {
                    Some(at_ns) => open.push(Reverse((at_ns, number))),
                    None => drop(chunks.remove(&number)),
                }
            }
        }
    }

    /// Tells every event that can be read in the order of the file: those of one client as they happened.
    ///
    /// # Errors
    /// As [`Recording::each_in_time`].
    pub(super) fn each_in_file(&mut self, mut tell: impl FnMut(&Placed)) -> io::Result<()> {
        for index in 0..self.chunks.len() {
            let chunk = self.chunks[index];
            self.events(&chunk)?.iter().for_each(&mut tell);
        }
        Ok(())
    }
}
