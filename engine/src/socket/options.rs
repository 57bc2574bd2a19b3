//! What users may ask of a socket.

/// Socket options as requested. `None` leaves the system's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// TCP_NODELAY: do not wait for more before sending a small segment.
    pub nodelay: bool,
    /// SO_SNDBUF, bytes. Linux doubles it and clamps it to net.core.wmem_max.
    pub send_buffer_bytes: Option<u32>,
    /// SO_RCVBUF, bytes. Linux doubles it, clamps it to net.core.rmem_max, and stops autotuning.
    pub receive_buffer_bytes: Option<u32>,
    /// TCP_CONGESTION, by name.
    pub congestion_control: Option<String>,
    /// TCP_MAXSEG, bytes.
    pub mss_bytes: Option<u32>,
    /// IP_TOS or IPV6_TCLASS.
    pub tos: Option<u8>,
    /// SO_BUSY_POLL, us (Linux; acts on devices with NAPI only, not on loopback).
    pub busy_poll_us: Option<u32>,
    /// TCP Fast Open: TCP_FASTOPEN on listeners, TCP_FASTOPEN_CONNECT on connecting sockets.
    pub fast_open: bool,
    /// SO_KEEPALIVE with this idle time and interval, s.
    pub keepalive_s: Option<u32>,
    /// SO_MAX_PACING_RATE, bytes per second (Linux).
    pub pacing_bytes_per_second: Option<u64>,
}
