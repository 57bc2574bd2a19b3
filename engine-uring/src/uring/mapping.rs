//! Memory of pages of its own.

use std::io;
use std::ptr::NonNull;

/// An anonymous private mapping: page aligned and zeroed.
pub(super) struct Mapping {
    address: NonNull<u8>,
    len: usize,
    owned: bool,
}

impl Mapping {
    pub(super) fn new(len: usize) -> io::Result<Self> {
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
        );
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
        if address == libc::MAP_FAILED {
            let error = io::Error::last_os_error();
            return Err(io::Error::new(
                error.kind(),
                format!("cannot map {len} bytes for receive buffers: {error}"),
            ));
        }
        let address =
            NonNull::new(address.cast()).expect("mmap without MAP_FIXED never answers null");
        Ok(Self {
            address,
            len,
            owned: true,
        })
    }

    pub(super) fn address(&self) -> NonNull<u8> {
        self.address
    }

    /// Keeps it for ever.
    pub(super) fn leak(&mut self) {
        self.owned = false;
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.owned {
            // SAFETY: exactly the mapping made in `new`; its owner saw to it that neither the
            // kernel nor a reference uses it any more.
            unsafe { libc::munmap(self.address.as_ptr().cast(), self.len) };
        }
    }
}
