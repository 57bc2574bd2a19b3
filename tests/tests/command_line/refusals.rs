//! Bad input and faults: one clear line with the cure, the documented exit code, nothing left.

use linerate_tests::binary::{Call, call, call_line, linerate, within};
use linerate_tests::process::piped;
use linerate_tests::raw::{self, Server};
use linerate_tests::{Directory, Family};
use std::fs;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

const USAGE: i32 = 2;
const MACHINE: i32 = 3;
const PEER: i32 = 4;

#[test]
fn what_cannot_be_meant_is_refused_with_a_cure() {
    within(60, || {
        let long = format!("run rr unix:///{}", "x".repeat(200));
        let cases: [(&str, &[&str]); 36] = [
            (
                "run rr --engine nosuch",
                &["'nosuch'", "uring", "epoll", "blocking"],
            ),
            ("run rr --testee-engine nosuch", &["'nosuch'", "blocking"]),
            (
                "run rr --engine blocking:trigger=edge",
                &["engine blocking", "unknown option 'trigger'", "it has spin"],
            ),
            (
                "run rr --testee-engine epoll:warp=9",
                &["engine epoll", "unknown option 'warp'"],
            ),
            (
                "run rr --engine uring:sqpoll=true,taskrun=defer",
                &["engine uring", "sqpoll excludes taskrun"],
            ),
            (
                "run rr --engine tokio-uring:sqpoll=true",
                &["engine tokio-uring", "sqpoll=true", "never submitted"],
            ),
            (
                "serve --listen tcp://127.0.0.1:0 --role echo --engine uring:batch=4",
                &["engine uring", "batch needs min_wait"],
            ),
            (
                "serve --listen tcp://127.0.0.1:0 --role echo --engine epoll:warp",
                &["engine 'epoll:warp'", "epoll:key=value"],
            ),
            (
                "run rr udp://127.0.0.1:9",
                &["udp://127.0.0.1:9", "tcp://HOST:PORT"],
            ),
            ("run rr tcp://127.0.0.1:70000", &["70000", "not a port"]),
            ("run rr tcp://127.0.0.1", &["port is missing"]),
            (&long, &["the path has", "shorter"]),
            (
                "serve --listen tcp://127.0.0.1:70000 --role echo",
                &["70000", "not a port"],
            ),
            (
                "serve --listen tcp://127.0.0.1:0 --role nosuch",
                &["'nosuch'", "discard"],
            ),
            ("serve", &["--listen", "--role"]),
            ("run echo --size 0", &["--size 0", "cc"]),
            ("run rr --request 0", &["--request 0"]),
            ("run rr --response 0", &["--response 0"]),
            (
                "run rr --request 2G",
                &["--request 2.00 GiB", "to 1.00 GiB", "lies in memory"],
            ),
            (
                "serve --listen tcp://127.0.0.1:0 --role rr --response 2G",
                &["--response 2.00 GiB", "lies in memory"],
            ),
            ("run rr --duration 0s", &["--duration", "10s"]),
            (
                "run rr --load-agents 3 --connections 2",
                &["--load-agents 3", "connections"],
            ),
            (
                "run rr --testee-agents 2 -c 2 --testee-listen unix:///tmp/x",
                &["--testee-agents", "a Unix socket", "--testee-threads"],
            ),
            (
                "run rr tcp://127.0.0.1:9 --testee-agents 2 -c 2",
                &["--testee-agents", "the target"],
            ),
            (
                "run rr --threads 3 --connections 2",
                &["--threads 3", "connections"],
            ),
            (
                "run rr -c 2 --ranks 2",
                &["--ranks", "testee that those hosts reach"],
            ),
            (
                "run rr tcp://127.0.0.1:9 -c 2 --ranks 2",
                &["--ranks", "--join tcp://"],
            ),
            (
                "run rr tcp://127.0.0.1:9 --join tcp://127.0.0.1:0",
                &["--join", "--ranks N"],
            ),
            (
                "run rr tcp://127.0.0.1:9 -c 2 --ranks 2 --load-via env",
                &["--load-via", "--ranks"],
            ),
            (
                "run rr tcp://127.0.0.1:9 -c 2 --ranks 2 --join tcp://127.0.0.1:0",
                &["token", "LINERATE_TOKEN", "--token-file", "openssl"],
            ),
            (
                "run rr tcp://127.0.0.1:9 -c 2 --ranks 2 --join unix:///x --token-file /etc/os-release",
                &["--join unix:///x", "TCP"],
            ),
            (
                "agent --join tcp://127.0.0.1:9",
                &["rank", "SLURM_PROCID", "--rank N"],
            ),
            ("run rr --rate 0", &["--rate 0"]),
            ("run rr --depth 0", &["--depth 0"]),
            ("run rr --connections 0", &["--connections 0"]),
            (
                "run rr --rate 100 --depth 4 --engine blocking",
                &["--depth", "epoll"],
            ),
        ];
        for (line, parts) in cases {
            call_line(line).assert_refused(USAGE, parts);
        }
    });
}

#[test]
fn an_engine_that_cannot_run_here_is_an_error_and_nothing_else_is_taken() {
    let foreign = if cfg!(target_os = "linux") {
        "kqueue"
    } else {
        "epoll"
    };
    within(60, move || {
        for option in ["--engine", "--testee-engine"] {
            let finished = call(&["run", "rr", option, foreign, "--duration", "100ms"]);
            finished.assert_refused(MACHINE, &[foreign, "does not run here", "use"]);
        }
    });
}

#[test]
fn a_target_that_refuses() {
    within(60, || {
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
        let target = format!("tcp://{}", free.expect("a free port"));
        for workload in ["rr", "echo", "stream", "crr", "cc"] {
            let finished = call(&["run", workload, &target, "--duration", "300ms"]);
            finished.assert_refused(PEER, &[&target, "refused", "check"]);
        }
        let directory = Directory::new();
        let target = format!("unix://{}", directory.path().join("none").display());
        call(&["run", "rr", &target]).assert_refused(PEER, &[&target, "check"]);
    });
}

#[test]
fn a_target_that_never_answers() {
    within(60, || {
        let directory = Directory::new();
        let listener = raw::listen(Family::Tcp4, &directory, 1);
        let address = listener.local_addr().expect("bound");
        // Nobody accepts; the backlog is full.
        let fillers: Vec<_> = (0..4)
            .map(|_| {
                let domain = Family::Tcp4.domain();
                let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
                socket.set_nonblocking(true)?;
                let _ = socket.connect(&address);
                Ok::<_, std::io::Error>(socket)
            })
            .collect();
        let target = format!("tcp://{}", address.as_socket().expect("TCP"));
        for engine in ["auto", "blocking"] {
            let begun = Instant::now();
            let finished = call(&[
                "run",
                "rr",
                &target,
                "--connect-timeout",
                "300ms",
                "--engine",
                engine,
            ]);
            finished.assert_refused(PEER, &[&target, "300 ms"]);
            assert!(
                begun.elapsed() < Duration::from_secs(5),
                "{:?}",
                begun.elapsed()
            );
        }
        drop(fillers);
    });
}

#[test]
fn an_answer_of_another_size_is_no_riddle() {
    within(60, || {
        let server = Server::start(Family::Tcp4, raw::echo);
        let target = format!("tcp://{}", server.address.as_socket().expect("TCP"));
        let base = format!("run rr {target} --warmup 0s --duration 400ms --drain 100ms");
        for timeout in ["200ms", "5s"] {
            let finished = call_line(&format!("{base} --response 4K --timeout {timeout}"));
            let parts = ["received 1 of 4096 bytes", "check the response size"];
            finished.assert_refused(PEER, &parts);
        }
    });
}

#[test]
fn a_run_in_which_everything_failed_is_no_success() {
    within(60, || {
        // Closes at once; closes instead of answering; never answers.
        let closes = Server::start(Family::Tcp4, |_, _| {});
        let takes = Server::start(Family::Tcp4, |conn, _| drop(conn.hear(1)));
        let silent = Server::start(Family::Tcp4, |_, _| {
            std::thread::sleep(Duration::from_secs(10));
        });
        for server in [&closes, &takes, &silent] {
            let target = format!("tcp://{}", server.address.as_socket().expect("TCP"));
            let mut line = vec![
                "run",
                "rr",
                &target,
                "--duration",
                "400ms",
                "--warmup",
                "0s",
            ];
            line.extend(["--timeout", "200ms", "--drain", "100ms"]);
            let finished = call(&line);
            assert_eq!(
                finished.code(),
                PEER,
                "{}\n{}",
                finished.stdout,
                finished.stderr
            );
            let errors = finished
                .stderr
                .lines()
                .filter(|line| line.starts_with("linerate: "));
            assert_eq!(errors.count(), 1, "{}", finished.stderr);
        }
    });
}

#[test]
fn wrong_bytes_are_a_failed_check() {
    within(60, || {
        let server = Server::start(Family::Tcp4, |conn, _| {
            raw::answer(&conn, 1_024, |number, bytes| {
                let mut bytes = bytes.to_vec();
                bytes[17] ^= u8::from(number == 50);
                Some(bytes)
            });
        });
        let target = format!("tcp://{}", server.address.as_socket().expect("TCP"));
        let finished = call(&[
            "run",
            "echo",
            &target,
            "--size",
            "1K",
            "--duration",
            "300ms",
        ]);
        assert_eq!(
            finished.code(),
            1,
            "{}\n{}",
            finished.stdout,
            finished.stderr
        );
        assert!(
            finished.stdout.contains("wrong bytes"),
            "{}",
            finished.stdout
        );
    });
}

#[test]
fn an_output_that_cannot_be_written_is_found_before_measuring() {
    within(60, || {
        let directory = Directory::new();
        let inside = directory
            .path()
            .join("none/result.json")
            .display()
            .to_string();
        let itself = directory.path().display().to_string();
        for (option, path) in [
            ("--output", &inside),
            ("--output", &itself),
            ("--events", &inside),
        ] {
            let begun = Instant::now();
            let finished = call(&["run", "rr", "--duration", "20s", option, path]);
            finished.assert_refused(USAGE, &[path, "cannot write"]);
            assert!(begun.elapsed() < Duration::from_secs(5), "before measuring");
        }
        assert_eq!(fs::read_dir(directory.path()).map_or(0, Iterator::count), 0);
    });
}

#[test]
fn too_few_descriptors_are_found_before_the_first_connection() {
    within(60, || {
        let server = Server::start(Family::Tcp4, raw::echo);
        let target = format!("tcp://{}", server.address.as_socket().expect("TCP"));
        let mut command = piped("sh");
        command.args([
            "-c",
            "ulimit -n 100; exec \"$0\" run echo \"$1\" --connections 500",
        ]);
        command.arg(linerate()).arg(&target);
        let finished = Call::of(command).finish(Duration::from_secs(20));
        finished.assert_refused(MACHINE, &["500", "100", "ulimit -Hn"]);
        assert_eq!(server.accepted(), 0, "before the first connection");
    });
}

#[test]
fn launchers_that_fail() {
    within(60, || {
        let cases: [(&str, &[&str]); 6] = [
            // As the terminal stops what asks for a password in the background.
            (
                "sh -c 'kill -TTIN $$; exec \"$@\"' ssh",
                &["stopped by the terminal", "BatchMode=yes"],
            ),
            ("false", &["'false'", "code 1"]),
            (
                "/nonexistent/launcher",
                &["/nonexistent/launcher", "No such file"],
            ),
            ("echo", &["'echo'", "exited"]),
            (
                "sh -c 'echo no route to host >&2; exit 255'",
                &["no route to host", "255"],
            ),
            // What it says is shown and not obeyed.
            (
                "sh -c 'printf \"\\033]0;owned\\007\" >&2; exit 1'",
                &["\\x1b]0;owned\\x07"],
            ),
        ];
        for (launcher, parts) in cases {
            let begun = Instant::now();
            let line = [
                "run",
                "rr",
                "--testee-via",
                launcher,
                "--testee-host",
                "127.0.0.1",
            ];
            let finished = call(&line);
            finished.assert_refused(PEER, parts);
            let said = &finished.stderr;
            assert!(
                !said.chars().any(|c| c.is_control() && c != '\n'),
                "{said:?}"
            );
            assert!(
                begun.elapsed() < Duration::from_secs(5),
                "{:?}",
                begun.elapsed()
            );
        }
    });
}

#[test]
fn listeners_that_cannot_be() {
    within(60, || {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("tcp://{}", taken.local_addr().expect("bound"));
        let finished = call(&["serve", "--listen", &endpoint, "--role", "echo"]);
        finished.assert_refused(MACHINE, &[&endpoint, "in use", "another"]);

        let directory = Directory::new();
        let path = directory.path().join("living");
        let living = UnixListener::bind(&path).expect("a socket");
        let endpoint = format!("unix://{}", path.display());
        let finished = call(&["serve", "--listen", &endpoint, "--role", "echo"]);
        finished.assert_refused(MACHINE, &[&endpoint, "another"]);
        assert!(path.exists(), "the socket of somebody else stays");
        drop(living);

        let path = directory.path().join("a-file");
        fs::write(&path, "precious").expect("written");
        let endpoint = format!("unix://{}", path.display());
        let finished = call(&["serve", "--listen", &endpoint, "--role", "echo"]);
        assert_ne!(finished.code(), 0);
        assert_eq!(fs::read_to_string(&path).expect("still there"), "precious");

        let endpoint = format!("unix://{}/none/s", directory.path().display());
        let finished = call(&["serve", "--listen", &endpoint, "--role", "echo"]);
        finished.assert_refused(MACHINE, &[&endpoint, "directory"]);
    });
}

#[test]
fn configuration_files_that_are_none() {
    within(60, || {
        let directory = Directory::new();
        let path = directory.path().join("testee.toml");
        let name = path.display().to_string();
        call(&["serve", "--config", &name]).assert_refused(USAGE, &[&name, "No such file"]);
        let cases = [
            (
                "[[listener]]\nendpoint = \"tcp://127.0.0.1:0\"\nrole = \"nosuch\"\n",
                "nosuch",
            ),
            (
                "[[listener]]\nendpoint = \"tcp://127.0.0.1:0\"\nrole = \"echo\"\nrolle = 1\n",
                "rolle",
            ),
            ("[[listener]\n", "line 1"),
            ("", "listener"),
        ];
        for (text, part) in cases {
            fs::write(&path, text).expect("written");
            call(&["serve", "--config", &name]).assert_refused(USAGE, &[part]);
        }
    });
}

#[test]
fn an_agent_without_a_conductor_ends() {
    within(30, || {
        let begun = Instant::now();
        let finished = call(&["agent"]);
        assert_ne!(finished.code(), 0);
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "{:?}",
            begun.elapsed()
        );
    });
}

#[test]
fn help_teaches_with_examples() {
    within(60, || {
        for line in [
            "",
            "run",
            "run rr",
            "run echo",
            "run stream",
            "run crr",
            "run cc",
            "serve",
            "engines",
        ] {
            let finished = call_line(&format!("{line} --help"));
            assert_eq!(finished.code(), 0);
            assert!(
                finished.stdout.contains("Examples:"),
                "{line}: {}",
                finished.stdout
            );
            assert!(finished.stdout.contains("linerate "), "{line}");
        }
        let finished = call_line("engines");
        assert_eq!(finished.code(), 0);
        for engine in ["uring", "epoll", "blocking", "auto"] {
            assert!(finished.stdout.contains(engine), "{}", finished.stdout);
        }
    });
}

#[test]
fn a_target_that_goes_away_for_good_is_no_result() {
    within(60, || {
        // It serves for half a second, and then nobody does.
        let mut testee = Call::start(&[
            "serve",
            "--listen",
            "tcp://127.0.0.1:0",
            "--role",
            "echo",
            "--drain",
            "0s",
        ]);
        let heard = testee.hears("listening on");
        let address = heard.split("listening on ").nth(1).expect("where");
        let address = address.split([',', ' ']).next().expect("where").to_owned();
        let mut load = Call::start(&[
            "run", "rr", &address, "-d", "3s", "-w", "0s", "-i", "100ms", "--format", "json",
        ]);
        load.hears("rr  0.5/3 s");
        testee.kept().signal(libc::SIGKILL);
        let ended = load.finish(Duration::from_secs(20));
        assert_eq!(ended.code(), 4, "{}", ended.stderr);
        let said = "the target went away in round 1, and no connection was left at the end";
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
        assert_eq!(ended.json()["status"], "failed");
        testee.finish(Duration::from_secs(5));
    });
}

#[test]
fn a_congestion_control_that_is_none_is_no_fault_of_an_address() {
    within(60, || {
        let server = Server::start(Family::Tcp4, raw::echo);
        let target = format!(
            "tcp://{}",
            server.address.as_socket().expect("an IP address")
        );
        for line in [
            "run rr --congestion nosuch".to_owned(),
            format!("run rr {target} --congestion nosuch"),
        ] {
            call_line(&line)
                .assert_refused(3, &["--congestion nosuch", "the kernel of this host has"]);
        }
    });
}
