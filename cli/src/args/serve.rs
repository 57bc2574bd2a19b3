//! `linerate serve`: pairs of `--listen` and `--role`, and what holds for all of them.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};
use report::units::{parse_duration_ns, parse_size};
use runner::plan::{ListenerRequest, RoleName, ServeRequest};

use super::count_u32;
use super::run::CloseHow;
use super::run_groups::SocketArgs;

const EXAMPLES: &str = concat!(
    "\
Examples:
  linerate serve --listen tcp://127.0.0.1:9000 --role echo
  linerate serve --listen tcp://127.0.0.1:9000 --role rr --request 1 --response 1K
  linerate serve --listen tcp://127.0.0.1:9000 --role echo --listen unix:///run/d.sock --role discard
  linerate serve --listen tcp://10.0.0.2:9000 --role echo --threads 2 --cpus 0-1
  linerate serve --listen tcp://127.0.0.1:9000 --role rr --close-after 1      for run crr --closer server
  linerate serve --config testee.toml
  linerate serve --listen tcp://10.0.0.2:9000 --role echo --profile many-connections

A configuration file lists the same:
  [[listener]]
  id = \"echo\"
  endpoint = { type = \"tcp\", port = 9000, backlog = 1024 }   # or \"tcp://127.0.0.1:9000\"
  role = \"echo\"

  [[listener]]
  endpoint = \"unix:///run/rr.sock\"
  role = \"rr\"
  request = 1
  response = \"64K\"

It is a correct partner for any client, not only for linerate run: netperf -N, socat, your own program.
Ctrl-C or SIGTERM: accepts no more, lets connections end within --drain, prints totals, exits 0.
There is no authentication and no encryption: anybody who reaches a listener can make it send and receive.

",
    units!()
);

/// Arguments of `serve`.
#[derive(Debug, Args)]
#[command(
    about = "Be the testee: listen and answer until told to stop",
    after_help = EXAMPLES
)]
pub struct ServeArgs {
    #[command(flatten)]
    pub listeners: ListenerArgs,
    #[command(flatten)]
    pub bounds: BoundsArgs,
    #[command(flatten)]
    pub workers: WorkerArgs,
    #[command(flatten)]
    pub socket: SocketArgs,
    #[command(flatten)]
    pub profile: ServeProfileArgs,
    #[command(flatten)]
    pub output: ServeOutputArgs,
}

/// Which settings are in force while it serves.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Profile")]
pub struct ServeProfileArgs {
    /// Apply this profile of sysctls and limits before listening and put everything back at the end: a
    /// bundled one (`linerate sysctl list`) or a file. Needs root
    #[arg(long, value_name = "NAME|FILE", value_parser = runner::profile::load)]
    pub profile: Option<sysctl_profiles::Profile>,

    /// Let the profile make values smaller
    #[arg(long, requires = "profile")]
    pub allow_lower: bool,

    /// Do without the settings that are read-only here, as some are in containers; each is named
    #[arg(long, requires = "profile")]
    pub skip_read_only: bool,
}

/// Bounds of the testee.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Bounds")]
pub struct BoundsArgs {
    /// Connections served at once, per worker (with --processes dealt to them); more wait until some close. What peers that do not read
    /// leave unsent is bounded, too: 512 KiB a connection, and 256 MiB of copies a process, beyond which a
    /// connection has what it received at once and no more (uring, epoll, kqueue) [default: 16384]
    #[arg(long, value_name = "N", value_parser = count_u32)]
    pub max_connections: Option<u32>,

    /// Close a connection on which nothing moved for this long [default: never]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    pub idle_timeout: Option<u64>,

    /// End after the first connection has ended
    #[arg(long)]
    pub one_off: bool,

    /// When stopping, how long open connections may go on [default: 2s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_ns)]
    pub drain: Option<u64>,
}

/// Who does the work.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Workers")]
pub struct WorkerArgs {
    /// Processes that listen together on each TCP port, each with its own limit of descriptors and its part of
    /// --max-connections [default: 1, or as many as --max-connections needs]
    #[arg(long, value_name = "N", value_parser = count_u32)]
    pub processes: Option<u32>,

    /// Worker threads of each listener in each process [default: 1]
    #[arg(short, long, value_name = "N", value_parser = count_u32)]
    pub threads: Option<u32>,

    /// CPUs for the workers, for example 0-3 [default: where the kernel puts them]
    #[arg(long, value_name = "CPUS")]
    pub cpus: Option<String>,

    /// How connections reach the workers. reuseport: a listener each, balanced by the kernel (TCP; Linux,
    /// FreeBSD); shared: all on one listener; handoff: the first accepts and hands on in turn
    /// [default: what suits the system]
    #[arg(long, value_name = "HOW", value_enum)]
    pub accept: Option<AcceptChoice>,

    /// Engine: auto, uring, epoll, kqueue, blocking, or a runtime: tokio-uring, monoio, monoio-legacy (see
    /// `linerate engines`) [default: auto]
    #[arg(short, long, value_name = "ENGINE")]
    pub engine: Option<String>,
}

/// How connections reach the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AcceptChoice {
    // A listener per worker, balanced by the kernel
    Reuseport,
    // All workers accept on one listener
    Shared,
    // The first worker accepts and hands on
    Handoff,
}

impl AcceptChoice {
    fn name(self) -> &'static str {
        match self {
            AcceptChoice::Reuseport => "reuseport",
            AcceptChoice::Shared => "shared",
            AcceptChoice::Handoff => "handoff",
        }
    }
}

/// What is shown.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub struct ServeOutputArgs {
    /// Nothing on stderr but errors; totals still go to stdout
    #[arg(short, long)]
    pub quiet: bool,
}

/// What a listener does with its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    // Sends back what it receives
    Echo,
    // Reads and drops
    Discard,
    // Sends as fast as the peer reads
    Source,
    // Reads and drops, and sends at the same time
    Duplex,
    // Answers every --request bytes with --response bytes
    Rr,
    // Sends back the messages of WebSockets
    Ws,
}

impl From<Role> for RoleName {
    fn from(role: Role) -> Self {
        match role {
            Role::Echo => RoleName::Echo,
            Role::Discard => RoleName::Discard,
            Role::Source => RoleName::Source,
            Role::Duplex => RoleName::Duplex,
            Role::Rr => RoleName::Rr,
            Role::Ws => RoleName::Ws,
        }
    }
}

impl ServeArgs {
    /// What is asked for, on top of what the configuration file asked for.
    pub fn request(&self, mut file: ServeRequest) -> ServeRequest {
        file.listeners
            .extend(self.listeners.listeners.iter().cloned());
        for listener in &mut file.listeners {
            self.apply(listener);
        }
        ServeRequest {
            max_connections: self.bounds.max_connections.or(file.max_connections),
            idle_timeout_ns: self.bounds.idle_timeout.or(file.idle_timeout_ns),
            one_off: self.bounds.one_off || file.one_off,
            drain_ns: self.bounds.drain.or(file.drain_ns),
            processes: self.workers.processes.or(file.processes),
            listeners: file.listeners,
        }
    }

    /// What holds for every listener and was given here wins over the file.
    fn apply(&self, listener: &mut ListenerRequest) {
        let workers = &self.workers;
        listener.threads = workers.threads.or(listener.threads);
        listener.cpus = workers.cpus.clone().or(listener.cpus.take());
        listener.engine = workers.engine.clone().or(listener.engine.take());
        let accept = workers.accept.map(|choice| choice.name().to_owned());
        listener.accept = accept.or(listener.accept.take());
        let (given, socket) = (self.socket.request(), &mut listener.socket);
        socket.nodelay = given.nodelay.or(socket.nodelay);
        socket.send_buffer_bytes = given.send_buffer_bytes.or(socket.send_buffer_bytes);
        socket.receive_buffer_bytes = given.receive_buffer_bytes.or(socket.receive_buffer_bytes);
        socket.congestion_control = given
            .congestion_control
            .or(socket.congestion_control.take());
        socket.mss_bytes = given.mss_bytes.or(socket.mss_bytes);
        socket.tos = given.tos.or(socket.tos);
        socket.busy_poll_us = given.busy_poll_us.or(socket.busy_poll_us);
        socket.fast_open |= given.fast_open;
        socket.keepalive_s = given.keepalive_s.or(socket.keepalive_s);
    }
}

/// The listeners of the command line, each with the options that follow it.
#[derive(Debug, Clone, Default)]
pub struct ListenerArgs {
    /// In the order given.
    pub listeners: Vec<ListenerRequest>,
    /// The configuration file, if there is one.
    pub config: Option<PathBuf>,
}

/// How [`ListenerArgs`] looks to clap: lists that have lost their order.
#[derive(Debug, Args)]
#[command(next_help_heading = "Listeners")]
struct Lists {
    /// Listen here: tcp://HOST:PORT (port 0: any free one) or unix:///PATH (HOST:PORT and /PATH will do).
    /// tcp://0.0.0.0:PORT is every IPv4 address of this machine, tcp://[::]:PORT every one of both versions.
    /// May be repeated; the options of this group belong to the --listen before them
    #[arg(short, long, value_name = "ENDPOINT")]
    listen: Vec<String>,

    /// What to do with its connections. echo: send back what comes; discard: read and drop; source: send as
    /// fast as the peer reads; duplex: both at once; rr: answer every --request bytes with --response bytes;
    /// ws: send back the messages of WebSockets
    #[arg(short, long, value_name = "ROLE", value_enum)]
    role: Vec<Role>,

    /// Size of a request [role rr; default: 1]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    request: Vec<u64>,

    /// Size of a response [role rr; default: 1]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    response: Vec<u64>,

    /// Size of one write [roles source and duplex; default: 128K]
    #[arg(short, long, value_name = "SIZE", value_parser = parse_size)]
    size: Vec<u64>,

    /// Bytes of a message at most; longer ones end their connection with status 1009 [role ws; default: 64M]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_message: Vec<u64>,

    /// Close a connection after this many responses; 0: as soon as it is accepted [role rr]
    #[arg(long, value_name = "N", value_parser = count_u32)]
    close_after: Vec<u32>,

    /// How to close then [role rr; default: fin]
    #[arg(long, value_name = "HOW", value_enum)]
    close: Vec<CloseHow>,

    /// Connections that may wait to be accepted; net.core.somaxconn limits it [default: 4096]
    #[arg(long, value_name = "N", value_parser = count_u32)]
    backlog: Vec<u32>,

    /// Name of the listener in messages and totals [default: its endpoint]
    #[arg(long, value_name = "NAME")]
    id: Vec<String>,

    /// Take the listeners from this TOML file
    #[arg(long, value_name = "FILE", conflicts_with = "listen")]
    config: Option<PathBuf>,
}

/// A listener under construction: its role may still come, and must.
struct Pending {
    request: ListenerRequest,
    given: Vec<&'static str>,
}

/// One option of a listener, at its place on the command line.
type Placed = (usize, &'static str, Box<dyn FnOnce(&mut ListenerRequest)>);

impl Args for ListenerArgs {
    fn augment_args(command: Command) -> Command {
        Lists::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Lists::augment_args_for_update(command)
    }
}

impl FromArgMatches for ListenerArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut options: Vec<Placed> = Vec::new();
        let all = &mut options;
        place(matches, "role", all, |l, role: Role| l.role = role.into());
        place(matches, "request", all, |l, bytes| {
            l.request_bytes = Some(bytes)
        });
        place(matches, "response", all, |l, bytes| {
            l.response_bytes = Some(bytes)
        });
        place(matches, "size", all, |l, bytes| {
            l.message_bytes = Some(bytes)
        });
        place(matches, "max_message", all, |l, bytes| {
            l.max_message_bytes = Some(bytes)
        });
        place(matches, "close_after", all, |l, count| {
            l.close_after = Some(count)
        });
        place(matches, "close", all, |l, how: CloseHow| {
            l.close = Some(how.into())
        });
        place(matches, "backlog", all, |l, count| l.backlog = Some(count));
        place(matches, "id", all, |l, id| l.id = Some(id));
        Ok(ListenerArgs {
            listeners: pair(matches, options)?,
            config: matches.get_one::<PathBuf>("config").cloned(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Adds every occurrence of an option, with what it does to its listener.
fn place<T: Clone + Send + Sync + 'static>(
    matches: &ArgMatches,
    name: &'static str,
    options: &mut Vec<Placed>,
    apply: fn(&mut ListenerRequest, T),
) {
    let values = matches.get_many::<T>(name).into_iter().flatten().cloned();
    for (index, value) in matches.indices_of(name).into_iter().flatten().zip(values) {
        options.push((
            index,
            name,
            Box::new(move |listener| apply(listener, value)),
        ));
    }
}

/// Gives every option to the `--listen` before it.
fn pair(
    matches: &ArgMatches,
    mut options: Vec<Placed>,
) -> Result<Vec<ListenerRequest>, clap::Error> {
    let places: Vec<usize> = matches.indices_of("listen").into_iter().flatten().collect();
    let mut listeners: Vec<Pending> = matches
        .get_many::<String>("listen")
        .into_iter()
        .flatten()
        .map(|endpoint| Pending {
            request: ListenerRequest::new(endpoint, RoleName::Echo),
            given: Vec::new(),
        })
        .collect();
    options.sort_by_key(|(index, ..)| *index);
    for (index, name, apply) in options {
        let before = places.iter().filter(|&&place| place < index).count();
        let listener = before
            .checked_sub(1)
            .and_then(|position| listeners.get_mut(position))
            .ok_or_else(|| without_listener(name))?;
        if listener.given.contains(&name) {
            return Err(given_twice(name, &listener.request));
        }
        listener.given.push(name);
        apply(&mut listener.request);
    }
    listeners.into_iter().map(with_role).collect()
}

/// A listener whose role was forgotten would answer in a way that nobody asked for.
fn with_role(listener: Pending) -> Result<ListenerRequest, clap::Error> {
    if listener.given.contains(&"role") {
        return Ok(listener.request);
    }
    Err(usage(format!(
        "--listen {} has no role; write --role echo, discard, source, duplex or rr behind it",
        endpoint_of(&listener.request)
    )))
}

fn without_listener(name: &str) -> clap::Error {
    let option = name.replace('_', "-");
    usage(format!(
        "--{option} stands before any --listen, and belongs to the one before it; \
         write --listen ENDPOINT --{option} ..."
    ))
}

fn given_twice(name: &str, listener: &ListenerRequest) -> clap::Error {
    usage(format!(
        "--{} is given twice for --listen {}; every --listen takes one",
        name.replace('_', "-"),
        endpoint_of(listener)
    ))
}

fn endpoint_of(listener: &ListenerRequest) -> &str {
    listener.endpoint.as_deref().unwrap_or_default()
}

fn usage(text: String) -> clap::Error {
    clap::Error::raw(ErrorKind::ValueValidation, text)
}
