//! Issue 8: "`deploy/systemd/hairpin.service` (`Type=notify`, sandboxed [...])", "`deploy/container/Containerfile` ([...] non-root)":
//! the server in the box that unit and image put it in, without systemd and without a container engine.

use crate::support::directory::Directory;
use crate::support::missing::skipped;
use crate::support::operator::until;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Not root, one capability, a root that is read-only, only processes in /proc: it serves on 443, and says how it is.
#[test]
fn in_the_box_of_the_unit_it_serves_reloads_and_ends() {
    let Some(boxed) = Boxed::start(&[
        "--listen",
        "127.0.0.1:443",
        "--relay-address",
        "127.0.0.1",
        "--web",
        "off",
    ]) else {
        return;
    };
    assert!(boxed.hears().contains("READY=1"));
    let status = std::fs::read_to_string(format!("/proc/{}/status", boxed.child.id())).unwrap();
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap()
            .trim()
            .to_owned()
    };
    assert!(field("Uid:").starts_with("65534\t65534"), "{status}");
    // CAP_NET_BIND_SERVICE and no other.
    assert_eq!(
        (field("CapEff:"), field("CapBnd:")),
        ("0000000000000400".into(), "0000000000000400".into())
    );
    assert_eq!(field("NoNewPrivs:"), "1");
    boxed.signal("TERM");
    while !boxed.hears().contains("STOPPING=1") {}
    boxed.ends_well();
}

/// A server in its box, and the socket on which it tells its service manager how it is.
struct Boxed {
    child: Child,
    manager: UnixDatagram,
    _directory: Directory,
}

impl Boxed {
    fn start(flags: &[&str]) -> Option<Boxed> {
        let possible = Command::new("unshare")
            .args(["--mount", "--net", "setpriv", "--version"])
            .output();
        if !possible.is_ok_and(|output| output.status.success()) {
            skipped("a sandbox needs root, unshare and setpriv");
            return None;
        }
        let directory = Directory::temporary("service");
        open_to_all(directory.path());
        // Where the build lies, others than its owner may not be let in.
        let program = directory.join("hairpin");
        std::fs::copy(env!("CARGO_BIN_EXE_hairpin"), &program).unwrap();
        open_to_all(&program);
        let socket = directory.join("notify");
        let manager = UnixDatagram::bind(&socket).unwrap();
        open_to_all(&socket);
        manager
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--net", "sh", "-c", BOX, "sh"])
            .arg(program)
            .arg("serve")
            .args(flags);
        command
            .env("NOTIFY_SOCKET", &socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        Some(Boxed {
            child: command.spawn().unwrap(),
            manager,
            _directory: directory,
        })
    }

    /// The next thing that it says.
    fn hears(&self) -> String {
        let mut octets = [0; 1024];
        let length = self.manager.recv(&mut octets).expect("it says something");
        String::from_utf8(octets[..length].to_vec()).unwrap()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    fn ends_well(mut self) {
        let mut ended = None;
        until("the end", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        assert!(ended.unwrap().success(), "{ended:?}");
    }
}

impl Drop for Boxed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn open_to_all(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
}

/// What deploy/systemd/hairpin.service asks of systemd, by hand.
const BOX: &str = "
set -e
ip link set lo up
mount -t proc -o subset=pid proc /proc
mount --bind / /
mount -o remount,bind,ro /
exec setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs --bounding-set=-all,+net_bind_service \\
    --inh-caps=-all,+net_bind_service --ambient-caps=-all,+net_bind_service \"$@\"
";
