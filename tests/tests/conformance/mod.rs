//! One suite for every engine: roles and workloads over every kind of socket, and every fault that
//! the issue lists. Bytes are compared. The other side is plain sockets, or another engine.

mod accepting;
mod connecting;
mod failing;
mod faults;
mod limits;
mod loading;
mod pairs;
mod recording;
mod schedule;
mod serving;
mod streams;
mod transactions;
mod web_sockets;
