//! Storage with stable addresses for what the kernel reads by pointer: message headers and socket
//! addresses.
//!
//! Only operations in flight hold an entry, so ten thousand idle connections cost nothing here.
//! It grows by chunks and never shrinks: after warm-up nothing is allocated. One entry per
//! connection is the most that can ever be taken, so the table of connections bounds it.

const CHUNK: usize = 64;

/// Entries of `T`, named by number, that stay where they are.
pub(super) struct Slab<T> {
    // Boxes, so that growing moves no entry.
    chunks: Vec<Box<[T]>>,
    free: Vec<u32>,
}

impl<T: Default> Slab<T> {
    pub(super) fn new() -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Takes an entry; what its last user left is still in it.
    pub(super) fn take(&mut self) -> u32 {
        if self.free.is_empty() {
            self.grow();
        }
        self.free.pop().expect("grow added entries")
    }

    /// Gives an entry back.
    pub(super) fn put(&mut self, number: u32) {
        debug_assert!(!self.free.contains(&number), "an entry was put back twice");
        self.free.push(number);
    }

    pub(super) fn get_mut(&mut self, number: u32) -> &mut T {
        &mut self.chunks[number as usize / CHUNK][number as usize % CHUNK]
    }

    fn grow(&mut self) {
        let first = (self.chunks.len() * CHUNK) as u32;
        self.chunks.push((0..CHUNK).map(|_| T::default()).collect());
        // Room for every entry that exists, so that `put` never allocates.
        self.free.reserve(self.chunks.len() * CHUNK);
        self.free.extend((first..first + CHUNK as u32).rev());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_their_address_and_value_while_it_grows() {
        let mut slab = Slab::<u64>::new();
        let first = slab.take();
        *slab.get_mut(first) = 77;
        let address = std::ptr::from_mut(slab.get_mut(first)) as usize;
        let others: Vec<u32> = (0..5 * CHUNK as u32).map(|_| slab.take()).collect();
        assert!(!others.contains(&first));
        assert_eq!(*slab.get_mut(first), 77);
        assert_eq!(std::ptr::from_mut(slab.get_mut(first)) as usize, address);
    }

    #[test]
    fn entries_are_used_again_before_it_grows() {
        let mut slab = Slab::<u64>::new();
        for _ in 0..10 * CHUNK {
            let number = slab.take();
            slab.put(number);
        }
        assert_eq!(slab.chunks.len(), 1);
    }
}
