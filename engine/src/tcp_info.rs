//! TCP_INFO: what the kernel knows of a connection (Linux, tcp(7) and include/uapi/linux/tcp.h).
//!
//! The structure is declared here because libc's differs between C libraries; the kernel fills as
//! much as it knows and says how much that is.

use std::os::fd::RawFd;

/// Connections whose TCP_INFO is read at the end of a worker, at the most: it is a system call each.
pub const SAMPLES: usize = 1_000;

/// What one connection's TCP_INFO says, as far as linerate reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// Smoothed round-trip time, us.
    pub rtt_us: u32,
    /// Its mean deviation, us.
    pub rtt_variance_us: u32,
    /// Congestion window, segments.
    pub congestion_window_segments: u32,
    /// Maximum segment size for sending, bytes.
    pub send_mss_bytes: u32,
    /// Segments retransmitted since the connection was opened.
    pub retransmits: u32,
}

/// What was read of one connection, or the errno with which the kernel refused.
pub type Reading = Result<TcpInfo, i32>;

/// TCP_INFO over several connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpInfoSummary {
    /// How many connections answered.
    pub connections: u32,
    /// The errno of the first that did not. Where none answered, it is why nothing is known.
    pub refused: Option<i32>,
    /// Smallest, median and largest smoothed round-trip time, us.
    pub rtt_us: [u32; 3],
    /// Median of its mean deviation, us.
    pub rtt_variance_us_median: u32,
    /// Smallest, median and largest congestion window, segments.
    pub congestion_window_segments: [u32; 3],
    /// Median send MSS, bytes.
    pub send_mss_bytes_median: u32,
    /// Segments retransmitted, summed.
    pub retransmits: u64,
}

/// Why the connections that were open told nothing.
pub fn refusal(errno: i32) -> String {
    match errno {
        libc::EOPNOTSUPP => "the connections are no TCP connections".to_owned(),
        errno => format!(
            "TCP_INFO of the open connections: {}",
            std::io::Error::from_raw_os_error(errno)
        ),
    }
}

impl TcpInfoSummary {
    /// Summarises; `None` without connections.
    pub fn of(readings: &[Reading]) -> Option<Self> {
        let refused = readings
            .iter()
            .find_map(|reading| reading.as_ref().err())
            .copied();
        let infos: Vec<&TcpInfo> = readings.iter().flatten().collect();
        if infos.is_empty() {
            return refused.map(|errno| Self {
                refused: Some(errno),
                ..Self::default()
            });
        }
        let spread = |field: fn(&TcpInfo) -> u32| {
            let mut all: Vec<u32> = infos.iter().map(|info| field(info)).collect();
            all.sort_unstable();
            [all[0], all[all.len() / 2], all[all.len() - 1]]
        };
        Some(Self {
            connections: infos.len() as u32,
            refused,
            rtt_us: spread(|info| info.rtt_us),
            rtt_variance_us_median: spread(|info| info.rtt_variance_us)[1],
            congestion_window_segments: spread(|info| info.congestion_window_segments),
            send_mss_bytes_median: spread(|info| info.send_mss_bytes)[1],
            retransmits: infos.iter().map(|info| u64::from(info.retransmits)).sum(),
        })
    }
}

/// The kernel's `struct tcp_info` up to `tcpi_total_retrans`: 8 one-byte fields, then u32 fields.
#[cfg(target_os = "linux")]
#[repr(C)]
#[derive(Default)]
struct Raw {
    bytes: [u8; 8],
    words: [u32; 24],
}

/// Reads TCP_INFO; `None` where the system has none that is known here.
#[cfg(target_os = "linux")]
pub fn read(socket: RawFd) -> Option<Reading> {
    let mut raw = Raw::default();
    let mut len = size_of::<Raw>() as libc::socklen_t;
    // SAFETY: `raw` is valid for `len` bytes, and every byte pattern is a valid Raw.
    let answer = unsafe {
        libc::getsockopt(
            socket,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut raw).cast(),
            &raw mut len,
        )
    };
    if answer != 0 {
        return Some(Err(std::io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(0)));
    }
    if (len as usize) < size_of::<Raw>() {
        return None;
    }
    // Word indices after the 8 bytes: rto 0, ato 1, snd_mss 2, rcv_mss 3, unacked 4, sacked 5,
    // lost 6, retrans 7, fackets 8, last_* 9-12, pmtu 13, rcv_ssthresh 14, rtt 15, rttvar 16,
    // snd_ssthresh 17, snd_cwnd 18, advmss 19, reordering 20, rcv_rtt 21, rcv_space 22,
    // total_retrans 23.
    Some(Ok(TcpInfo {
        rtt_us: raw.words[15],
        rtt_variance_us: raw.words[16],
        congestion_window_segments: raw.words[18],
        send_mss_bytes: raw.words[2],
        retransmits: raw.words[23],
    }))
}

/// Not on this system.
#[cfg(not(target_os = "linux"))]
pub fn read(_socket: RawFd) -> Option<Reading> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_loopback_connection_has_a_round_trip_time() {
        use std::io::{Read, Write};
        use std::os::fd::AsRawFd;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0]).unwrap();
        let info = read(client.as_raw_fd()).unwrap().unwrap();
        assert!(info.rtt_us > 0 && info.rtt_us < 1_000_000, "{info:?}");
        assert!(info.send_mss_bytes >= 500, "{info:?}");
        assert!(info.congestion_window_segments > 0, "{info:?}");
    }

    #[test]
    fn summary_takes_minimum_median_maximum() {
        let info = |rtt_us| TcpInfo {
            rtt_us,
            retransmits: 2,
            ..TcpInfo::default()
        };
        let readings = [Ok(info(30)), Err(libc::EBADF), Ok(info(10)), Ok(info(20))];
        let summary = TcpInfoSummary::of(&readings).unwrap();
        assert_eq!((summary.rtt_us, summary.retransmits), ([10, 20, 30], 6));
        assert_eq!(
            (summary.connections, summary.refused),
            (3, Some(libc::EBADF))
        );
        assert_eq!(TcpInfoSummary::of(&[]), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_errno_is_kept_of_what_does_not_answer() {
        use std::os::fd::AsRawFd;
        let (unix, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(read(unix.as_raw_fd()), Some(Err(libc::EOPNOTSUPP)));
        assert_eq!(read(-1), Some(Err(libc::EBADF)));
        let summary = TcpInfoSummary::of(&[Err(libc::EBADF)]).unwrap();
        assert_eq!(
            (summary.connections, summary.refused),
            (0, Some(libc::EBADF))
        );
    }
}
