//! Property tests of every session, without any I/O: however the bytes are cut, and however their
//! delivery interleaves, the same bytes are said and the same operations are counted.

mod conversation;
mod imagined;
mod life;
mod pairs;
mod roles;
mod sizes;
mod web_socket;
