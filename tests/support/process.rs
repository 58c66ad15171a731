//! The built binary as a server on free ports, stopped at the end of the test.

use super::TIMEOUT;
use super::certificate::self_signed;
use super::client::{Client, PASSWORD, USER};
use super::directory::Directory;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// The command line of `hairpin serve`.
#[derive(Clone)]
pub struct Setup {
    flags: Vec<String>,
    relay_addresses: bool,
    users: bool,
    listeners: bool,
}

/// A running server.
pub struct Server {
    shell: Child,
    pub pid: u32,
    pub v4: SocketAddr,
    pub v6: SocketAddr,
    pub admin: SocketAddr,
    /// The file with its standard output and standard error.
    pub log: PathBuf,
}

/// Flags that lift the default limits of a user, and enable RFC 6062.
const PERMISSIVE: [(&str, &str); 3] = [
    ("--user-allocations", "0"),
    ("--new-peers", "0"),
    ("--tcp-relays", "true"),
];

impl Setup {
    /// Two users, relay addresses 127.0.0.1 and ::1, and permission for loopback peers.
    pub fn new() -> Setup {
        Setup::strict()
            .flag("--allow-peer", "127.0.0.0/8")
            .flag("--allow-peer", "::1/128")
    }

    /// The same with the default rules for peers.
    pub fn strict() -> Setup {
        Setup {
            flags: vec![],
            relay_addresses: true,
            users: true,
            listeners: true,
        }
        .flag("--realm", REALM_NAME)
        .flag("--shards", "2")
    }

    pub fn flag(mut self, name: &str, value: &str) -> Setup {
        self.flags.extend([name.to_owned(), value.to_owned()]);
        self
    }
    pub fn switch(mut self, name: &str) -> Setup {
        self.flags.push(name.to_owned());
        self
    }
    /// Replaces a flag that [`Setup::new`] set.
    pub fn replace(mut self, name: &str, value: &str) -> Setup {
        let at = self.flags.iter().position(|f| f == name).unwrap();
        self.flags[at + 1] = value.to_owned();
        self
    }
    /// Removes a flag that [`Setup::new`] set.
    pub fn without(mut self, name: &str) -> Setup {
        let at = self.flags.iter().position(|f| f == name).unwrap();
        self.flags.drain(at..at + 2);
        self
    }
    /// Without the default relay addresses.
    pub fn without_relay_addresses(mut self) -> Setup {
        self.relay_addresses = false;
        self
    }
    /// Without the default users.
    pub fn without_users(mut self) -> Setup {
        self.users = false;
        self
    }

    /// Without listeners; the configuration file must name the listeners of [`Setup::start_at`].
    pub fn without_listeners(mut self) -> Setup {
        self.listeners = false;
        self
    }

    /// TLS and DTLS with a self-signed certificate in `chain.pem` and `key.pem` of the directory,
    /// and no web page.
    pub fn certificate(self, directory: &Directory, name: &str) -> Setup {
        let new = self_signed(name);
        self.flag("--web", "off")
            .flag("--certificate", &directory.write("chain.pem", &new.chain))
            .flag("--private-key", &directory.write("key.pem", &new.key))
    }

    /// The whole command line for these listeners.
    pub fn arguments(&self, v4: SocketAddr, v6: SocketAddr, admin: SocketAddr) -> Vec<String> {
        let mut all = vec!["serve".to_owned()];
        let mut push = |name: &str, value: String| all.extend([name.to_owned(), value]);
        // A few users make all allocations of a test. The values of a configuration file count.
        let has_flag = |name: &str| self.flags.iter().any(|flag| flag == name);
        for (name, value) in PERMISSIVE {
            if !has_flag(name) && !has_flag("--config") {
                push(name, value.to_owned());
            }
        }
        if self.listeners {
            push("--listen", v4.to_string());
            push("--listen", v6.to_string());
        }
        push("--admin", admin.to_string());
        if self.relay_addresses {
            push("--relay-address", "127.0.0.1".into());
            push("--relay-address", "::1".into());
        }
        if self.users {
            push("--user", format!("{USER}:{PASSWORD}"));
            push("--user", format!("{OTHER_USER}:{OTHER_PASSWORD}"));
        }
        all.extend(self.flags.iter().cloned());
        all
    }

    /// Starts and waits until every listener answers.
    pub fn start(&self) -> Server {
        self.start_at(free_port())
    }

    /// Starts on the addresses of another server and waits until that one has handed them over.
    pub fn start_in_place_of(&self, other: &Server) -> Server {
        let (v4, v6, admin) = (other.v4, other.v6, other.admin);
        let server = Server::spawn(&self.arguments(v4, v6, admin), v4, v6, admin);
        server.wait_for_line("listening udp");
        server
    }

    /// Starts on the addresses of another server, which must fail; returns its output.
    pub fn fail_in_place_of(&self, other: &Server) -> String {
        let (v4, v6, admin) = (other.v4, other.v6, other.admin);
        let mut server = Server::spawn(&self.arguments(v4, v6, admin), v4, v6, admin);
        // Closing the input would stop the server.
        let input = server.shell.stdin.take();
        server.shell.wait().unwrap();
        drop(input);
        server.printed()
    }

    /// Starts on this port and waits until every listener answers.
    pub fn start_at(&self, port: u16) -> Server {
        let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let server = Server::spawn(&self.arguments(v4, v6, admin), v4, v6, admin);
        server.wait_until_ready()
    }
}

impl Server {
    /// A server that several tests share, stopped with the test process.
    pub fn shared() -> &'static Server {
        static SHARED: std::sync::OnceLock<Server> = std::sync::OnceLock::new();
        SHARED.get_or_init(|| {
            Setup::new()
                .flag("--shared-secret", SECRET)
                .flag("--shared-secret", OLD_SECRET)
                .start()
        })
    }

    /// The same with the default rules for peers.
    pub fn shared_strict() -> &'static Server {
        static SHARED: std::sync::OnceLock<Server> = std::sync::OnceLock::new();
        SHARED.get_or_init(|| Setup::strict().start())
    }

    pub fn udp(&self) -> Client {
        Client::udp(self.v4)
    }
    pub fn tcp(&self) -> Client {
        Client::tcp(self.v4)
    }
    /// One client over each of UDP and TCP, IPv4 and IPv6.
    pub fn each(&self) -> [Client; 4] {
        [
            Client::udp(self.v4),
            Client::tcp(self.v4),
            Client::udp(self.v6),
            Client::tcp(self.v6),
        ]
    }
    /// One client over UDP and one over TCP.
    pub fn both(&self) -> [Client; 2] {
        [Client::udp(self.v4), Client::tcp(self.v4)]
    }

    /// The output so far.
    pub fn printed(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for a line of output that contains `wanted`.
    pub fn wait_for_line(&self, wanted: &str) -> String {
        let end = Instant::now() + TIMEOUT;
        loop {
            if let Some(line) = self.printed().lines().find(|l| l.contains(wanted)) {
                return line.to_owned();
            }
            assert!(
                Instant::now() < end,
                "no line with {wanted:?}:\n{}",
                self.printed()
            );
            std::thread::yield_now();
        }
    }

    /// The status line and body of a GET request to the admin listener. A listener that closes
    /// resets waiting connections, so the request is repeated, because another server may take over
    /// the address.
    pub fn get(&self, path: &str) -> (String, String) {
        let end = Instant::now() + TIMEOUT;
        loop {
            match self.try_get(path) {
                Err(error)
                    if error.kind() == ErrorKind::ConnectionReset && Instant::now() < end => {}
                answer => {
                    let answer = answer.unwrap();
                    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
                    return (head.lines().next().unwrap().to_owned(), body.to_owned());
                }
            }
        }
    }

    fn try_get(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.admin, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.admin
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// The sum of the samples of a metric whose labels contain all of these.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let (_, body) = self.get("/metrics");
        let belongs = |line: &&str| {
            let (key, rest) = line.split_at(line.find([' ', '{']).unwrap_or(line.len()));
            key == name && labels.iter().all(|l| rest.contains(l))
        };
        body.lines()
            .filter(belongs)
            .filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Seconds until the certificate for `name` expires, by the metric; negative once it has.
    pub fn certificate_seconds_left(&self, name: &str) -> f64 {
        let label = format!("name=\"{name}\"");
        let expiry = self.metric("hairpin_certificate_expiry_timestamp_seconds", &[&label]);
        let now = std::time::UNIX_EPOCH.elapsed().unwrap();
        expiry - now.as_secs_f64()
    }

    fn spawn(arguments: &[String], v4: SocketAddr, v6: SocketAddr, admin: SocketAddr) -> Server {
        static COUNT: AtomicU16 = AtomicU16::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("server-{}-{number}.log", std::process::id()));
        let mut shell = Command::new("sh")
            .args(["-c", REAPER, "reaper", env!("CARGO_BIN_EXE_hairpin")])
            .args(arguments)
            .env("LOG", &log)
            .env("NO_COLOR", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        Server {
            shell,
            pid: line.trim().parse().unwrap(),
            v4,
            v6,
            admin,
            log,
        }
    }

    fn wait_until_ready(mut self) -> Server {
        let end = Instant::now() + Duration::from_secs(20);
        for address in [self.v4, self.v6] {
            let probe = UdpSocket::bind((address.ip(), 0)).unwrap();
            probe
                .set_read_timeout(Some(Duration::from_millis(20)))
                .unwrap();
            let request = super::codec::Outgoing::request(super::codec::BINDING).encode(None);
            while probe
                .send_to(&request, address)
                .and_then(|_| probe.recv(&mut [0; 64]))
                .is_err()
            {
                let ended = self.shell.try_wait().unwrap();
                assert!(
                    ended.is_none() && Instant::now() < end,
                    "did not start ({ended:?}):\n{}",
                    self.printed()
                );
            }
        }
        self
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut input = self.shell.stdin.take();
        if std::thread::panicking() {
            // A graceful stop could wait for open allocations.
            drop(input.as_mut().map(|input| input.write_all(b"kill\n")));
        }
        drop(input);
        drop(self.shell.wait());
        if !std::thread::panicking() {
            drop(std::fs::remove_file(&self.log));
        }
    }
}

/// A port that is free for UDP and TCP on both loopback addresses, outside the range of ephemeral
/// ports.
pub fn free_port() -> u16 {
    let _search = PORT_SEARCH
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    next_free_port()
}

fn next_free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let seed = (std::process::id() % 1000) as u16 * 20;
    loop {
        let port = FIRST_PORT + seed.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS;
        let free = |ip: std::net::IpAddr| {
            UdpSocket::bind((ip, port)).is_ok() && TcpListener::bind((ip, port)).is_ok()
        };
        if free(Ipv4Addr::LOCALHOST.into()) && free(Ipv6Addr::LOCALHOST.into()) {
            return port;
        }
    }
}

/// Runs its arguments with the output in $LOG, prints the process id, and stops that process when
/// standard input ends, at the latest with the test process. A line of input kills it.
const REAPER: &str = r#"
exec 3<&0
"$@" >"$LOG" 2>&1 3<&- & server=$!
echo $server
{ if read -r _ <&3; then kill -KILL $server; else kill $server; fi 2>/dev/null; } & watch=$!
exec 3<&-
wait $server; code=$?
kill $watch 2>/dev/null
exit $code
"#;
/// The first of `count` consecutive free ports; it is even.
pub fn free_ports(count: u16) -> u16 {
    let _search = PORT_SEARCH
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    loop {
        let ports: Vec<u16> = (0..=count).map(|_| next_free_port()).collect();
        let first = ports[0].next_multiple_of(2);
        if ports[0] + count == ports[usize::from(count)] {
            return first;
        }
    }
}

/// Held while a test looks for ports, so that consecutive ports belong to one test.
static PORT_SEARCH: std::sync::Mutex<()> = std::sync::Mutex::new(());
const FIRST_PORT: u16 = 10_000;
const PORTS: u16 = 20_000;

/// Eight octets, as the limits of response sizes assume.
pub const REALM_NAME: &str = "test.org";
pub const OTHER_USER: &str = "bob";
pub const OTHER_PASSWORD: &str = "builder";
pub const SECRET: &str = "new secret";
pub const OLD_SECRET: &str = "old secret";
