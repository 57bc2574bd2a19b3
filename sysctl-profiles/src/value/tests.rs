use super::*;
use crate::catalogue;

fn info(key: &str) -> &'static KeyInfo {
    catalogue::find(key).expect("it is in the catalogue").0
}

const VECTOR: Kind = Kind::Amount(3);

#[test]
fn what_the_file_shows_becomes_one_form() {
    assert_eq!(
        normalise(VECTOR, "4096\t131072\t33554432\n"),
        "4096 131072 33554432"
    );
    assert_eq!(
        normalise(Kind::Choice, "always [madvise] never\n"),
        "madvise"
    );
    assert_eq!(normalise(Kind::CpuMask, "00000000,0000000F\n"), "f");
    assert_eq!(normalise(Kind::CpuMask, "00000000,00000000\n"), "0");
    assert_eq!(
        normalise(Kind::PortList, "8081,8080,9000-9002,9001\n"),
        "8080-8081,9000-9002"
    );
    assert_eq!(normalise(Kind::PortList, "\n"), "");
    assert_eq!(normalise(Kind::Name, "cubic\n"), "cubic");
}

#[test]
fn a_value_must_fit_its_key() {
    let rmem = info("net.ipv4.tcp_rmem");
    assert_eq!(check(rmem, "4096 131072 67108864"), Ok(()));
    let few = check(rmem, "4096 131072").expect_err("two of three");
    assert!(few.contains("3 numbers") && few.contains("2"), "{few}");
    assert!(check(rmem, "4096 131072 67108864 1").is_err());
    assert!(
        check(rmem, "4096 131072 2147483648")
            .expect_err("above int")
            .contains("2147483648")
    );
    assert!(check(rmem, "4096 131072 64K").is_err());
    assert!(check(rmem, "0 131072 67108864").is_err());
    assert!(check(info("net.ipv4.ip_local_port_range"), "1024 65536").is_err());
    assert!(check(info("net.ipv4.ip_local_port_range"), "5000 4000").is_err());
    assert!(check(info("net.ipv4.tcp_congestion_control"), "cubic reno").is_err());
    assert!(check(info("net.ipv4.tcp_congestion_control"), "$(reboot)").is_err());
    assert!(check(info("net.ipv4.tcp_congestion_control"), "\"cubic\"").is_err());
    assert_eq!(
        check(info("net.ipv4.ip_local_reserved_ports"), "8080,9000-9100"),
        Ok(())
    );
    assert!(check(info("net.ipv4.ip_local_reserved_ports"), "9100-9000").is_err());
    assert!(check(info("/sys/class/net/eth0/queues/rx-0/rps_cpus"), "xyz").is_err());
    assert_eq!(check(info("fs.file-max"), "9223372036854775807"), Ok(()));
    assert!(check(info("fs.file-max"), "9223372036854775808").is_err());
}

#[test]
fn at_least_raises_each_element_by_itself() {
    assert_eq!(
        at_least(VECTOR, "4096 131072 16777216", "8192 65536 33554432"),
        "8192 131072 33554432"
    );
    assert_eq!(at_least(Kind::Amount(1), "65535", "4096"), "65535");
    assert_eq!(
        at_least(Kind::Amount(1), "2097152", "9223372036854775807"),
        "9223372036854775807"
    );
    assert_eq!(
        at_least(Kind::PortRange, "1024 65535", "32768 60999"),
        "1024 65535"
    );
    assert_eq!(
        at_least(Kind::PortRange, "2000 50000", "1024 60999"),
        "1024 60999"
    );
}

#[test]
fn lowering_any_element_is_lowering() {
    assert_eq!(
        change(VECTOR, "4096 131072 33554432", "4096 87380 67108864"),
        Change::Lowers
    );
    assert_eq!(
        change(VECTOR, "4096 131072 33554432", "4096 131072 67108864"),
        Change::Raises
    );
    assert_eq!(
        change(VECTOR, "4096\t131072\t33554432", "4096 131072 33554432"),
        Change::Unchanged
    );
    assert_eq!(
        change(Kind::PortRange, "32768 60999", "1024 65535"),
        Change::Raises
    );
    assert_eq!(
        change(Kind::PortRange, "32768 60999", "40000 65535"),
        Change::Lowers
    );
    assert_eq!(change(Kind::Number, "60", "15"), Change::Changes);
    assert_eq!(change(Kind::Name, "bbr", "cubic"), Change::Changes);
    assert_eq!(
        change(Kind::Names, "reno bbr", "bbr reno"),
        Change::Unchanged
    );
    assert_eq!(
        change(Kind::CpuMask, "00000000,00000003", "3"),
        Change::Unchanged
    );
    assert_eq!(
        change(Kind::Choice, "always [madvise] never", "madvise"),
        Change::Unchanged
    );
}

#[test]
fn some_keys_round_up() {
    assert_eq!(granted(info("fs.pipe-max-size"), "1000000"), "1048576");
    assert_eq!(granted(info("fs.pipe-max-size"), "1048576"), "1048576");
    assert_eq!(granted(info("net.core.rps_sock_flow_entries"), "0"), "0");
    assert_eq!(granted(info("net.core.somaxconn"), "5000"), "5000");
}

#[test]
fn what_an_interrupted_write_can_leave() {
    let rmem = info("net.ipv4.tcp_rmem");
    let (old, new) = ("4096 131072 33554432", "8192 262144 67108864");
    for ours in [old, new, "8192 131072 33554432", "8192 262144 33554432"] {
        assert!(is_between(rmem, ours, old, new), "{ours}");
    }
    for foreign in ["8192 262144 1000", "4097 131072 33554432", "8192 262144"] {
        assert!(!is_between(rmem, foreign, old, new), "{foreign}");
    }
    let pipe = info("fs.pipe-max-size");
    assert!(
        is_between(pipe, "2097152", "1048576", "2000000"),
        "rounded up"
    );
    assert!(!is_between(pipe, "4194304", "1048576", "2000000"));
}
