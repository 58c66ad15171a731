//! A sandbox for the whole test binary: it starts itself again with its own mount, network and
//! process namespaces.
//!
//! Nothing can leak: namespaces are held by file descriptors, programs die with the inner process
//! (number 1 of its tree), and the inner process dies with the outer one, also when that is killed.

use std::env;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// The position of this process.
pub enum Boxed {
    /// Inside the sandbox: build the lab.
    Inside,
    /// Outside, and the inner process has ended with this code.
    Ended(ExitCode),
    /// No sandbox can be made, for this reason.
    Impossible(String),
}

/// Starts this binary again inside the sandbox, unless it is already there.
pub fn enter() -> Boxed {
    if env::var_os(INSIDE).is_some() {
        furnish();
        return Boxed::Inside;
    }
    if let Some(reason) = missing() {
        return Boxed::Impossible(reason);
    }
    // SAFETY: no memory is touched; this process has one thread, and only the child enters the new
    // process tree.
    if unsafe { libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWPID) } != 0 {
        return Boxed::Impossible(format!("may not unshare: {}", io::Error::last_os_error()));
    }
    let mut inner = Command::new(env::current_exe().expect("own path"));
    // Browsers leave profiles in the temporary folder, so the sandbox has its own, removed with it.
    inner
        .args(env::args_os().skip(1))
        .env(INSIDE, "1")
        .env("TMPDIR", room());
    // SAFETY: prctl is async-signal-safe and takes no pointer here.
    unsafe {
        inner.pre_exec(
            || match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            },
        );
    }
    let status = inner.status().expect("start the inner process");
    Boxed::Ended(ExitCode::from(status.code().map_or(1, |code| code as u8)))
}

/// A directory in memory for host names and browser profiles, removed with the sandbox. It is
/// mounted over an unused directory.
pub fn room() -> &'static str {
    let own = env::current_exe().expect("own path");
    let free = |place: &&&str| Path::new(place).is_dir() && !own.starts_with(place);
    ["/mnt", "/media", "/srv"]
        .iter()
        .find(free)
        .expect("an empty directory of the system")
}

/// Returns true if the program can be started.
pub fn have(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

/// The reason why the lab cannot run on this machine, if any.
fn missing() -> Option<String> {
    // SAFETY: takes nothing, touches nothing, cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return Some("not root: network namespaces cannot be made".into());
    }
    let absent: Vec<&str> = ["ip", "nft", "conntrack", "mount"]
        .into_iter()
        .filter(|program| !have(program))
        .collect();
    (!absent.is_empty()).then(|| {
        format!(
            "not installed: {} (Debian: iproute2 nftables conntrack mount)",
            absent.join(", ")
        )
    })
}

/// Prepares the new namespaces: /proc, host names, no DNS.
fn furnish() {
    mount(&["--make-rprivate", "/"]);
    mount(&["-t", "proc", "proc", "/proc"]);
    mount(&["-t", "tmpfs", "hairpin-natlab", room()]);
    for (file, content) in [("hosts", HOSTS), ("resolv.conf", "")] {
        let ours = Path::new(room()).join(file);
        let theirs = format!("/etc/{file}");
        fs::write(&ours, content).expect("write into the box");
        if fs::metadata(&theirs).is_ok() {
            mount(&["--bind", ours.to_str().expect("a printable path"), &theirs]);
        }
    }
}

fn mount(arguments: &[&str]) {
    let status = Command::new("mount")
        .args(arguments)
        .status()
        .expect("start mount");
    assert!(status.success(), "mount {arguments:?}: {status}");
}

const INSIDE: &str = "HAIRPIN_NATLAB_INSIDE";

const HOSTS: &str = "127.0.0.1 localhost
::1 localhost
198.18.0.10 app.test
198.18.0.11 turn.test
2001:db8::10 app.test app6.test
2001:db8::11 turn.test turn6.test
";
