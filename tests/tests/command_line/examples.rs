//! What stands in examples/, run as its users run it.

use super::documents::number;
use linerate_tests::Directory;
use linerate_tests::binary::{Call, linerate, within};
use linerate_tests::process::{Finished, Kept, needs, piped, python_with};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const QUICK: [&str; 8] = [
    "--duration",
    "500ms",
    "--warmup",
    "50ms",
    "--engine",
    "epoll",
    "--format",
    "json",
];

fn example(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples")).join(path)
}

/// A server for the load, and where it is.
fn serve() -> (Call, String) {
    let mut serving = Call::start(&["serve", "--listen", "127.0.0.1:0", "--role", "rr"]);
    let said = serving.hears("listening on");
    let mut words = said.split_whitespace();
    let target = words.find(|word| word.starts_with("tcp://"));
    let target = target.expect("an endpoint").trim_end_matches(',');
    (serving, target.to_owned())
}

/// A port that nobody has just now.
fn free_port() -> String {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
    free.expect("a free port").port().to_string()
}

/// The result has a row for each of these hosts, all of which have done something.
fn assert_hosts(document: &Value, hosts: &[&str]) {
    assert_eq!(document["status"], "ok", "{:#}", document["errors"]);
    let rows = document["rounds"][0]["by_host"].as_array().expect("rows");
    let found: Vec<&str> = rows.iter().filter_map(|row| row["host"].as_str()).collect();
    assert_eq!(found, hosts);
    for row in rows {
        assert!(number(row, "/operations") > 0.0, "{row:#}");
    }
}

const THREE_RANKS: [&str; 3] = ["rank-0", "rank-1", "rank-2"];

fn succeeded(finished: &Finished) {
    assert_eq!(
        finished.code(),
        0,
        "{}\n{}",
        finished.stdout,
        finished.stderr
    );
}

/// An sshd that lets in who has the key of this directory. As root it needs a place that Debian's service makes.
struct Sshd {
    _running: Kept,
    login: String,
}

impl Sshd {
    fn start(directory: &Path) -> Self {
        for name in ["host", "user"] {
            let made = piped("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(directory.join(name))
                .status();
            assert!(made.is_ok_and(|status| status.success()), "a key");
        }
        let _ = fs::create_dir("/run/sshd");
        let (port, at) = (free_port(), directory.display());
        let configuration = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host\nAuthorizedKeysFile {at}/user.pub\nPidFile none\n\
             StrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\n"
        );
        let file = directory.join("sshd_config");
        fs::write(&file, configuration).expect("a file");
        let mut command = piped("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f"]).arg(&file);
        let running = Kept::start(command.stderr(Stdio::null()));
        let listens = || std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_ok();
        assert!(linerate_tests::eventually(Duration::from_secs(20), listens));
        let login = format!(
            "ssh -o BatchMode=yes -i {at}/user -p {port} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
             -o LogLevel=ERROR"
        );
        Self {
            _running: running,
            login,
        }
    }
}

#[test]
fn hosts_are_reached_over_ssh() {
    const TEST: &str = "hosts_over_ssh";
    if !needs(TEST, "ssh") || !needs(TEST, "ssh-keygen") {
        return;
    }
    if !Path::new("/usr/sbin/sshd").is_file() {
        linerate_tests::skip(TEST, "sshd is not installed");
        return;
    }
    within(90, || {
        let directory = Directory::new();
        let sshd = Sshd::start(directory.path());
        let (_serving, target) = serve();
        let mut script = piped(example("ssh/load-from-hosts"));
        script
            .args([&target, "127.0.0.1", "localhost", "--"])
            .args(QUICK);
        script
            .env("CONNECTIONS", "4")
            .env("LINERATE", linerate())
            .env("SSH", &sshd.login);
        let finished = Call::of(script).finish(PATIENCE);
        succeeded(&finished);
        let document = finished.json();
        assert_hosts(&document, &["load-host-1", "load-host-2"]);
        let via = document["hosts"][0]["via"].as_str().unwrap_or_default();
        assert!(
            via.starts_with("ssh ") && via.ends_with(" 127.0.0.1"),
            "{via}"
        );
    });
}

#[test]
fn ranks_are_started_by_gnu_parallel() {
    if !needs("ranks_by_parallel", "parallel") {
        return;
    }
    within(90, || {
        let (_serving, target) = serve();
        let join = format!("tcp://127.0.0.1:{}", free_port());
        let mut script = piped(example("gnu-parallel/load-from-ranks"));
        script.args([&target, "3"]).args(QUICK);
        script
            .env("CONNECTIONS", "6")
            .env("LINERATE", linerate())
            .env("JOIN", &join);
        let finished = Call::of(script).finish(PATIENCE);
        succeeded(&finished);
        assert_hosts(&finished.json(), &THREE_RANKS);
    });
}

#[test]
fn ranks_are_started_by_slurm() {
    within(90, || {
        // srun starts the command once for each task, numbers them, and ends them with itself.
        let directory = Directory::new();
        let srun = directory.path().join("srun");
        let text = "#!/bin/sh\ntrap 'kill $(jobs -p)' TERM\nfor task in $(seq 0 $((SLURM_NTASKS - 1))); do SLURM_PROCID=$task \"$@\" & done\nwait\n";
        fs::write(&srun, text).expect("a file");
        fs::set_permissions(&srun, fs::Permissions::from_mode(0o755)).expect("a program");
        let binary = linerate().parent().expect("a directory");
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{}:{path}", directory.path().display(), binary.display());
        let (_serving, target) = serve();
        let mut script = piped(example("slurm/load-from-ranks.sbatch"));
        script
            .arg(&target)
            .args(QUICK)
            .current_dir(directory.path())
            .env("PATH", path)
            .env("JOIN_PORT", free_port())
            .envs([
                ("CONNECTIONS", "6"),
                ("SLURM_JOB_ID", "77"),
                ("SLURM_NTASKS", "3"),
                ("SLURMD_NODENAME", "127.0.0.1"),
            ]);
        succeeded(&Call::of(script).finish(PATIENCE));
        let result = fs::read_to_string(directory.path().join("linerate-77.json"));
        let document = serde_json::from_str(&result.expect("a result")).expect("JSON");
        assert_hosts(&document, &THREE_RANKS);
    });
}

#[test]
fn ranks_are_started_by_ansible() {
    if !needs("ranks_by_ansible", "ansible-playbook") {
        return;
    }
    within(150, || {
        let directory = Directory::new();
        let at = |name: &str| directory.path().join(name);
        let host = |name: &str| format!("{name} ansible_connection=local\n");
        let inventory = format!("[load]\n{}{}{}", host("a"), host("b"), host("c"));
        fs::write(at("hosts.ini"), inventory).expect("a file");
        let (_serving, target) = serve();
        let variables = json!({
            "target": target,
            "linerate": linerate(),
            "conductor_address": "127.0.0.1",
            "join_port": free_port(),
            "connections": 6,
            "options": QUICK,
            "result": at("result.json"),
            "token_file": at("token"),
        });
        let mut play = piped("ansible-playbook");
        play.arg("-i")
            .arg(at("hosts.ini"))
            .arg("-e")
            .arg(variables.to_string())
            .arg(example("ansible/load-from-ranks.yml"))
            .env("ANSIBLE_ASYNC_DIR", at("async"))
            .env("ANSIBLE_LOCAL_TEMP", at("local"))
            .env("ANSIBLE_REMOTE_TEMP", at("remote"))
            .env("ANSIBLE_LOCALHOST_WARNING", "false")
            .env("LC_ALL", "C.UTF-8");
        let finished = Kept::start(play.stdin(Stdio::null())).finish(Duration::from_secs(120));
        succeeded(&finished);
        let result = fs::read_to_string(at("result.json")).expect("a result");
        assert_hosts(&serde_json::from_str(&result).expect("JSON"), &THREE_RANKS);
    });
}

/// What the containers of the Kubernetes example are started with, in the order of the file.
fn container_arguments(mut python: Command) -> Vec<Vec<String>> {
    let program = "import json, sys, yaml\n\
        jobs = [part for part in yaml.safe_load_all(open(sys.argv[1])) if part['kind'] == 'Job']\n\
        print(json.dumps([job['spec']['template']['spec']['containers'][0]['args'] for job in jobs]))";
    python
        .args(["-c", program])
        .arg(example("kubernetes/load-from-ranks.yaml"));
    let finished = Kept::start(&mut python).finish(Duration::from_secs(20));
    succeeded(&finished);
    serde_json::from_str(&finished.stdout).expect("lists of words")
}

#[test]
fn ranks_are_started_by_an_indexed_job() {
    let Some(python) = python_with("ranks_by_kubernetes", "yaml", "python3-yaml") else {
        return;
    };
    within(90, || {
        let (_serving, target) = serve();
        let join = format!("tcp://127.0.0.1:{}", free_port());
        let containers = container_arguments(python);
        let [conductor, rank] = &containers[..] else {
            panic!("two jobs: {containers:?}");
        };
        // What the cluster's names lead to.
        let resolved = |words: &[String]| -> Vec<String> {
            let resolve = |word: &String| match word.as_str() {
                "tcp://target.example:9000" => target.clone(),
                "tcp://0.0.0.0:9470" | "tcp://linerate-conductor:9470" => join.clone(),
                _ => word.clone(),
            };
            words.iter().map(resolve).collect()
        };
        let container = |words: &[String], index: Option<&str>, more: &[&str]| {
            let mut command = piped(linerate());
            command
                .args(resolved(words))
                .args(more)
                .env("LINERATE_TOKEN", "0123456789abcdef0123456789abcdef");
            command.envs(index.map(|index| ("JOB_COMPLETION_INDEX", index)));
            Call::of(command)
        };
        let mut ranks = ["0", "1", "2"].map(|index| container(rank, Some(index), &[]));
        // Its engine stands in the file.
        let quick = [&QUICK[..4], &QUICK[6..]].concat();
        let finished = container(conductor, None, &quick).finish(PATIENCE);
        succeeded(&finished);
        assert_hosts(&finished.json(), &THREE_RANKS);
        for rank in &mut ranks {
            succeeded(&rank.finish(Duration::from_secs(10)));
        }
    });
}

#[test]
fn kubernetes_takes_its_example() {
    if !needs("kubernetes_schema", "kubernetes-validate") {
        return;
    }
    let validate = |path: &Path| {
        let mut command = piped("kubernetes-validate");
        command.arg("--strict").arg(path);
        Kept::start(command.stdin(Stdio::null())).finish(PATIENCE)
    };
    succeeded(&validate(&example("kubernetes/load-from-ranks.yaml")));
    // It would say so.
    let directory = Directory::new();
    let spoiled = directory.path().join("spoiled.yaml");
    let text = fs::read_to_string(example("kubernetes/load-from-ranks.yaml")).expect("the example");
    let text = text.replace("completionMode: Indexed", "completionsMode: Indexed");
    fs::write(&spoiled, text).expect("a file");
    assert_ne!(validate(&spoiled).code(), 0);
}
