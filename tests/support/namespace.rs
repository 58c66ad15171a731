//! A network namespace, which exists as long as its file descriptor.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::thread;

/// Returns true if this process may create namespaces.
pub fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// A namespace with its own interfaces, routes, rules and sockets, all of which are removed when it
/// is dropped.
pub struct Namespace {
    name: &'static str,
    net: File,
}

impl Namespace {
    /// A new namespace with loopback up, forwarding on, and IPv6 addresses usable at once.
    pub fn new(name: &'static str) -> Namespace {
        let net = thread::spawn(|| {
            // SAFETY: no memory is touched; only this thread changes its network namespace.
            assert_eq!(
                unsafe { libc::unshare(libc::CLONE_NEWNET) },
                0,
                "unshare: {}",
                std::io::Error::last_os_error()
            );
            for (setting, value) in SETTINGS {
                fs::write(format!("/proc/sys/net/{setting}"), value).expect(setting);
            }
            File::open("/proc/thread-self/ns/net").expect("own namespace")
        });
        let space = Namespace {
            name,
            net: net.join().expect("make a namespace"),
        };
        space.ip("link set lo up");
        space
    }

    /// Runs `work` on a thread inside, and waits for it.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            join(&self.net);
            work()
        };
        match thread::scope(|scope| scope.spawn(inside).join()) {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Starts `work` on a thread inside; sockets it makes and programs it starts belong to this
    /// namespace.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        let net = self.net.try_clone().expect("one more descriptor");
        thread::spawn(move || {
            join(&net);
            drop(net);
            work()
        })
    }

    /// The path of this namespace, for `ip`.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.net.as_raw_fd())
    }

    /// Runs `ip` commands, one a line.
    pub fn ip(&self, batch: &str) {
        self.feed(&["ip", "-batch", "-"], batch);
    }

    /// Loads nftables rules as one transaction.
    pub fn nft(&self, rules: &str) {
        self.feed(&["nft", "-f", "-"], rules);
    }

    /// Runs a program inside with `input` and returns its output; panics with its error output if
    /// it fails.
    pub fn feed(&self, command: &[&str], input: &str) -> String {
        let (program, arguments) = command.split_first().expect("a command");
        let output = self.enter(|| {
            let mut child = Command::new(program)
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap_or_else(|error| panic!("{program}: {error}"));
            child
                .stdin
                .take()
                .expect("piped")
                .write_all(input.as_bytes())
                .expect("its input");
            child.wait_with_output().expect("its end")
        });
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{} in {}: {errors}\n{input}",
            command.join(" "),
            self.name
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn join(net: &File) {
    // SAFETY: the descriptor is open and names a network namespace; only this thread changes its
    // own.
    assert_eq!(
        unsafe { libc::setns(net.as_raw_fd(), libc::CLONE_NEWNET) },
        0,
        "setns: {}",
        std::io::Error::last_os_error()
    );
}

/// No duplicate address detection (it would delay every IPv6 address by a second), no reverse path
/// filter, no redirects.
const SETTINGS: [(&str, &str); 11] = [
    ("ipv4/ip_forward", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv6/icmp/ratelimit", "0"),
];
