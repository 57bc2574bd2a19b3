//! `linerate serve`, from its start to its totals.

use linerate_tests::binary::{Call, call_line, linerate, within};
use linerate_tests::process::piped;
use linerate_tests::raw::{Conn, PATIENCE};
use linerate_tests::{Directory, noise};
use socket2::SockAddr;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// The address after "listening on tcp://".
fn address(heard: &str) -> SocketAddr {
    let line = heard
        .lines()
        .rev()
        .find(|line| line.contains("listening on tcp://"));
    let rest = line
        .and_then(|line| line.split("tcp://").nth(1))
        .expect("where it listens");
    rest.split([',', ' '])
        .next()
        .and_then(|text| text.parse().ok())
        .expect("an address")
}

fn tcp(address: SocketAddr) -> Conn {
    Conn::to(&SockAddr::from(address))
}

fn unix(path: &Path) -> Conn {
    Conn::to(&SockAddr::unix(path).expect("a short path"))
}

fn echoes(conn: &Conn) {
    let bytes = noise(10_000, 1);
    conn.say(&bytes);
    assert!(conn.hear(bytes.len()) == bytes);
}

#[test]
fn several_listeners_in_one_process() {
    within(60, || {
        let directory = Directory::new();
        let path = directory.path().join("rr");
        let unix_endpoint = format!("unix://{}", path.display());
        let mut line = vec!["serve", "--listen", "tcp://127.0.0.1:0", "--role", "echo"];
        line.extend(["--id", "front", "--listen", &unix_endpoint, "--role", "rr"]);
        line.extend(["--request", "10", "--response", "100"]);
        let mut call = Call::start(&line);
        let mut heard = call.hears("listening on");
        heard += &call.hears("listening on");
        echoes(&tcp(address(&heard)));
        let conn = unix(&path);
        conn.say(&[1; 30]);
        conn.hear(300);
        drop(conn);
        std::thread::sleep(Duration::from_millis(50));
        call.kept().signal(libc::SIGINT);
        let finished = call.finish(Duration::from_secs(10));
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        assert!(
            finished
                .stdout
                .contains("front: 1 connection accepted, 10,000 bytes received, 10,000 bytes sent"),
            "{}",
            finished.stdout
        );
        assert!(
            finished
                .stdout
                .contains("1 connection accepted, 30 bytes received, 300 bytes sent"),
            "{}",
            finished.stdout
        );
        assert!(!path.exists(), "the socket is unlinked");
    });
}

#[test]
fn a_configuration_file_says_the_same() {
    within(60, || {
        let directory = Directory::new();
        let path = directory.path().join("d.sock");
        let config = directory.path().join("testee.toml");
        let text = format!(
            "[[listener]]\nid = \"one\"\nendpoint = {{ type = \"tcp\", port = 0, backlog = 64 }}\nrole = \"echo\"\n\n\
             [[listener]]\nid = \"two\"\nendpoint = \"unix://{}\"\nrole = \"discard\"\ndebug = true\n",
            path.display()
        );
        fs::write(&config, text).expect("written");
        let mut call = Call::start(&["serve", "--config", &config.display().to_string()]);
        let mut heard = call.hears("listening on");
        heard += &call.hears("listening on");
        let place = address(&heard);
        assert!(
            place.ip().is_loopback(),
            "loopback unless told otherwise: {place}"
        );
        echoes(&tcp(place));
        let conn = unix(&path);
        conn.say(&[0; 5_000]);
        conn.finish();
        assert!(conn.hear_all().is_empty());
        call.kept().signal(libc::SIGTERM);
        let finished = call.finish(Duration::from_secs(10));
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        assert!(
            finished
                .stdout
                .contains("two: 1 connection accepted, 5,000 bytes received"),
            "{}",
            finished.stdout
        );
        assert!(!path.exists());
    });
}

#[test]
fn stopping_drains_within_its_deadline() {
    within(60, || {
        let mut line = vec!["serve", "--listen", "tcp://127.0.0.1:0", "--role", "echo"];
        line.extend(["--drain", "700ms"]);
        let mut call = Call::start(&line);
        let place = address(&call.hears("listening on"));
        let (ends, stays) = (tcp(place), tcp(place));
        echoes(&ends);
        echoes(&stays);
        let asked = Instant::now();
        call.kept().signal(libc::SIGINT);
        std::thread::sleep(Duration::from_millis(150));
        echoes(&ends);
        drop(ends);
        assert!(TcpStream::connect_timeout(&place, Duration::from_millis(200)).is_err());
        let finished = call.finish(Duration::from_secs(10));
        let took = asked.elapsed();
        assert!(
            (Duration::from_millis(650)..Duration::from_secs(4)).contains(&took),
            "{took:?}"
        );
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        assert!(
            finished.stdout.contains("1 connection cut off"),
            "{}",
            finished.stdout
        );
        assert!(stays.hear_all().is_empty());
    });
}

/// Nobody asked for so many connections: the default takes what there is room for, and says so.
#[test]
fn a_default_fits_itself_to_the_limit_of_open_files() {
    within(60, || {
        for engine in ["auto", "epoll", "blocking"] {
            let mut command = piped("sh");
            command.args(["-c", "ulimit -n 400; exec \"$@\"", "sh"]);
            command.arg(linerate());
            command.args(["serve", "--listen", "tcp://127.0.0.1:0", "--role", "echo"]);
            command.args(["--engine", engine]);
            let mut call = Call::of(command);
            let said = call.hears("listening on");
            assert!(said.contains("at most 328 connections at once"), "{said}");
            echoes(&tcp(address(&said)));
            call.kept().signal(libc::SIGTERM);
            let finished = call.finish(Duration::from_secs(10));
            assert_eq!(finished.code(), 0, "{}", finished.stderr);
        }
    });
}

/// A load cuts its streams off: that is their ordinary end.
#[test]
fn the_end_of_a_stream_is_no_error() {
    within(120, || {
        for engine in ["uring", "epoll", "blocking"] {
            for (role, direction) in [
                ("discard", "send"),
                ("source", "receive"),
                ("duplex", "both"),
            ] {
                let line =
                    format!("serve --listen tcp://127.0.0.1:0 --role {role} --engine {engine}");
                let mut serving = Call::start(&line.split(' ').collect::<Vec<_>>());
                let target = format!("tcp://{}", address(&serving.hears("listening on")));
                let line = format!(
                    "run stream {target} --direction {direction} --connections 4 --duration 200ms --warmup 0s --engine \
                     {engine}"
                );
                let run = linerate_tests::binary::call(&line.split(' ').collect::<Vec<_>>());
                assert_eq!(run.code(), 0, "{line}: {}", run.stderr);
                serving.kept().signal(libc::SIGTERM);
                let finished = serving.finish(Duration::from_secs(10));
                let told = &finished.stdout;
                assert!(told.contains("4 connections accepted"), "{line}: {told}");
                assert!(!told.contains("error"), "{line}: {told}");
            }
        }
    });
}

#[test]
fn two_interrupts_end_a_testee_at_once() {
    within(60, || {
        let mut line = vec!["serve", "--listen", "tcp://127.0.0.1:0", "--role", "echo"];
        line.extend(["--drain", "60s"]);
        let mut call = Call::start(&line);
        let conn = tcp(address(&call.hears("listening on")));
        echoes(&conn);
        call.kept().signal(libc::SIGINT);
        // What comes within half a second is the same wish.
        std::thread::sleep(Duration::from_millis(700));
        let asked = Instant::now();
        call.kept().signal(libc::SIGINT);
        let finished = call.finish(Duration::from_secs(10));
        assert!(
            asked.elapsed() < Duration::from_secs(3),
            "{:?}",
            asked.elapsed()
        );
        assert_eq!(finished.code(), 130, "{}", finished.stderr);
    });
}

#[test]
fn one_off_and_bounds() {
    within(60, || {
        let mut line = vec![
            "serve",
            "--listen",
            "tcp://127.0.0.1:0",
            "--role",
            "echo",
            "--one-off",
        ];
        line.extend(["--max-connections", "1", "--idle-timeout", "400ms"]);
        let mut call = Call::start(&line);
        let place = address(&call.hears("listening on"));
        let conn = tcp(place);
        echoes(&conn);
        let second = TcpStream::connect(place).expect("the backlog takes it");
        second
            .set_read_timeout(Some(Duration::from_millis(100)))
            .expect("a timeout");
        (&second).write_all(b"x").expect("written");
        assert!(
            (&second)
                .read(&mut [0; 1])
                .map_or(true, |length| length == 0),
            "one at a time"
        );
        // It is idle: closed, and with it the only connection that was to be served.
        conn.0.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        assert!(conn.hear_all().is_empty());
        let finished = call.finish(Duration::from_secs(10));
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        assert!(
            finished.stdout.contains("1 closed as idle"),
            "{}",
            finished.stdout
        );
    });
}

#[test]
fn a_socket_left_by_a_killed_testee_is_taken_over() {
    within(60, || {
        let directory = Directory::new();
        let path = directory.path().join("s");
        let endpoint = format!("unix://{}", path.display());
        let mut first = Call::start(&["serve", "--listen", &endpoint, "--role", "echo"]);
        first.hears("listening on");
        first.kept().signal(libc::SIGKILL);
        first.kept().wait(Duration::from_secs(5));
        assert!(path.exists(), "a killed process unlinks nothing");
        let mut second = Call::start(&["serve", "--listen", &endpoint, "--role", "echo"]);
        second.hears("listening on");
        echoes(&unix(&path));
        second.kept().signal(libc::SIGTERM);
        assert_eq!(second.finish(Duration::from_secs(10)).code(), 0);
        assert!(!path.exists());
    });
}

#[test]
fn several_workers_with_each_strategy() {
    within(60, || {
        for accept in ["reuseport", "shared", "handoff"] {
            let mut line = vec!["serve", "--listen", "tcp://127.0.0.1:0", "--role", "echo"];
            line.extend(["--threads", "3", "--accept", accept]);
            let mut call = Call::start(&line);
            let heard = call.hears("listening on");
            assert!(
                heard.contains("3 workers") && heard.contains(accept),
                "{heard}"
            );
            let place = address(&heard);
            let conns: Vec<_> = (0..12).map(|_| tcp(place)).collect();
            conns.iter().for_each(echoes);
            drop(conns);
            std::thread::sleep(Duration::from_millis(50));
            call.kept().signal(libc::SIGINT);
            let finished = call.finish(Duration::from_secs(10));
            assert_eq!(finished.code(), 0, "{accept}: {}", finished.stderr);
            assert!(
                finished
                    .stdout
                    .contains("12 connections accepted, 120,000 bytes received"),
                "{}",
                finished.stdout
            );
        }
    });
}

/// Lowers the soft limit of descriptors of a running process.
#[cfg(target_os = "linux")]
fn lower_descriptors(pid: libc::pid_t, limit: u64) {
    let limit = libc::rlimit {
        rlim_cur: limit,
        rlim_max: 1_000,
    };
    // SAFETY: the kernel reads one rlimit, which lives during the call; the old one is not asked for.
    let answer = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &limit, std::ptr::null_mut()) };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
}

#[test]
#[cfg(target_os = "linux")]
fn out_of_descriptors_is_said_and_survived() {
    within(60, || {
        // epoll, because io_uring's multishot accept keeps the limit of when it was armed.
        let serve = "exec \"$0\" serve --engine epoll --listen tcp://127.0.0.1:0 --role echo --max-connections";
        let with_limit = |limit: u32, connections: u32| {
            let mut command = linerate_tests::process::piped("sh");
            command.args(["-c", &format!("ulimit -n {limit}; {serve} {connections}")]);
            command.arg(linerate_tests::binary::linerate());
            Call::of(command)
        };
        // What is known to be too few is refused at the start.
        let finished = with_limit(100, 1_000).finish(Duration::from_secs(10));
        finished.assert_refused(3, &["1000", "100", "ulimit -Hn"]);
        // What becomes too few is survived.
        let mut call = with_limit(1_000, 500);
        let place = address(&call.hears("listening on"));
        lower_descriptors(call.kept().pid(), 40);
        let mut conns: Vec<_> = (0..80).map(|_| tcp(place)).collect();
        echoes(&conns[0]);
        std::thread::sleep(Duration::from_millis(300));
        conns.drain(..60);
        conns.iter().for_each(echoes);
        drop(conns);
        call.kept().signal(libc::SIGINT);
        let finished = call.finish(Duration::from_secs(10));
        assert_eq!(finished.code(), 0, "{}", finished.stderr);
        assert!(
            finished.stdout.contains("descriptors ran out"),
            "{}",
            finished.stdout
        );
    });
}

/// A testee that listens on a port of its own choice, and where.
fn start(options: &str) -> (Call, String) {
    let line = format!("serve --listen tcp://127.0.0.1:0 --role echo {options}");
    let mut call = Call::start(&line.split_whitespace().collect::<Vec<_>>());
    let heard = call.hears("listening on");
    let target = format!("tcp://{}", address(&heard));
    (call, target)
}

fn connect(target: &str, options: &str) -> i32 {
    call_line(&format!(
        "run connect {target} --delay 1ms --hold 300ms {options}"
    ))
    .code()
}

#[cfg(target_os = "linux")]
#[test]
fn several_processes_listen_together_and_add_up() {
    within(60, || {
        let (mut testee, target) = start("--id front --processes 3 --max-connections 300");
        assert_eq!(connect(&target, "-c 150"), 0);
        // Of 150 connections one process gets none in one run of 10^26.
        assert_eq!(testee.processes().len(), 3);
        testee.kept().signal(libc::SIGTERM);
        let ended = testee.finish(Duration::from_secs(10));
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        let said = "front: 150 connections accepted";
        assert!(ended.stdout.contains(said), "{}", ended.stdout);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn more_connections_than_one_process_has_descriptors_for_take_several() {
    within(60, || {
        let limit = engine::os::raise_descriptor_limit().expect("a limit").soft;
        if limit > 1_000_000 {
            return linerate_tests::skip("processes", "one process has descriptors for all");
        }
        let mut line = Call::start(&[
            "serve",
            "--listen",
            "tcp://127.0.0.1:0",
            "--role",
            "echo",
            "--max-connections",
            &(2 * limit).to_string(),
        ]);
        let heard = line.hears("listening on");
        assert!(heard.contains("3 processes of 1 worker for"), "{heard}");
        assert_eq!(connect(&format!("tcp://{}", address(&heard)), "-c 30"), 0);
        line.kept().signal(libc::SIGINT);
        let ended = line.finish(Duration::from_secs(10));
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        assert!(
            ended.stdout.contains("30 connections accepted"),
            "{}",
            ended.stdout
        );
    });
}

#[cfg(target_os = "linux")]
#[test]
fn whichever_process_of_a_testee_dies_none_is_left() {
    within(60, || {
        for kills_first in [false, true] {
            let (mut testee, target) = start("--processes 3");
            assert_eq!(connect(&target, "-c 10"), 0);
            let mut all = testee.processes();
            all.retain(|(_, command)| command.contains("agent --serve") != kills_first);
            // SAFETY: kill takes two integers; the process carries the mark of this very call.
            unsafe { libc::kill(all[0].0, libc::SIGKILL) };
            // It asserts that nothing is left.
            let ended = testee.finish(Duration::from_secs(10));
            if !kills_first {
                assert_eq!(ended.code(), 3, "{}", ended.stderr);
                let said = "a process of the testee ended by itself";
                assert!(ended.stderr.contains(said), "{}", ended.stderr);
            }
        }
    });
}

/// As a service manager does it.
#[cfg(target_os = "linux")]
#[test]
fn a_signal_to_every_process_lets_connections_end() {
    within(60, || {
        let (mut testee, target) = start("--processes 3 --drain 5s");
        let address = target
            .trim_start_matches("tcp://")
            .parse()
            .expect("an address");
        let conns: Vec<_> = (0..12).map(|_| tcp(address)).collect();
        conns.iter().for_each(echoes);
        for (pid, _) in testee.processes() {
            // SAFETY: kill takes two integers; the process carries the mark of this very call.
            unsafe { libc::kill(pid, libc::SIGTERM) };
        }
        std::thread::sleep(Duration::from_millis(500));
        conns.iter().for_each(echoes);
        drop(conns);
        let ended = testee.finish(Duration::from_secs(10));
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        assert!(
            ended.stdout.contains("12 connections accepted"),
            "{}",
            ended.stdout
        );
    });
}

#[test]
fn a_limit_of_the_testee_is_told_and_not_blamed_on_its_clients() {
    within(60, || {
        let (mut testee, target) = start("--max-connections 5");
        // Those that wait in the backlog are established, and nobody answers them.
        assert_eq!(connect(&target, "-c 9"), 0);
        let heard = testee.hears("takes no more at present");
        assert!(
            heard.contains("5 connections are open in a process"),
            "{heard}"
        );
        testee.kept().signal(libc::SIGTERM);
        assert_eq!(testee.finish(Duration::from_secs(10)).code(), 0);
    });
}

#[test]
fn what_processes_cannot_share_is_refused() {
    within(60, || {
        for (options, part) in [
            ("--one-off", "--processes does not go with --one-off"),
            ("--accept shared", "--accept reuseport"),
            ("--listen unix:///x --role echo", "use --threads"),
        ] {
            let line =
                format!("serve --listen tcp://127.0.0.1:0 --role echo --processes 2 {options}");
            call_line(&line).assert_refused(2, &[part]);
        }
    });
}
