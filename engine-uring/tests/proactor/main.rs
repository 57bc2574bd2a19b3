//! The contract of `engine::proactor`, driven directly over real loopback sockets.
#![cfg(target_os = "linux")]

mod closing;
mod lazy;
mod moving;
mod starting;
mod support;
