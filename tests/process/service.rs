//! The server in the sandbox of the systemd unit and of the container image, without systemd and
//! without a container engine.

use crate::support::directory::Directory;
use crate::support::missing::skipped;
use crate::support::operator::until;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Not root, one capability, read-only root directory, only processes in /proc.
#[test]
fn the_server_serves_reloads_and_stops_in_the_sandbox_of_the_unit() {
    let Some(boxed) = SandboxedServer::start(&[
        "--listen",
        "127.0.0.1:443",
        "--relay-address",
        "127.0.0.1",
        "--web",
        "off",
    ]) else {
        return;
    };
    assert!(boxed.notification().contains("READY=1"));
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
    while !boxed.notification().contains("STOPPING=1") {}
    boxed.stop();
}

/// A sandboxed server, and its notification socket.
struct SandboxedServer {
    child: Child,
    manager: UnixDatagram,
    _directory: Directory,
}

impl SandboxedServer {
    fn start(flags: &[&str]) -> Option<SandboxedServer> {
        let possible = Command::new("unshare")
            .args(["--mount", "--net", "setpriv", "--version"])
            .output();
        if !possible.is_ok_and(|output| output.status.success()) {
            skipped("a sandbox needs root, unshare and setpriv");
            return None;
        }
        let directory = Directory::temporary("service");
        open_to_all(directory.path());
        // Other users may have no access to the build directory.
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
        Some(SandboxedServer {
            child: command.spawn().unwrap(),
            manager,
            _directory: directory,
        })
    }

    /// The next notification.
    fn notification(&self) -> String {
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

    fn stop(mut self) {
        let mut ended = None;
        until("the end", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        assert!(ended.unwrap().success(), "{ended:?}");
    }
}

impl Drop for SandboxedServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn open_to_all(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
}

/// Sets up by hand what deploy/systemd/hairpin.service asks of systemd.
const BOX: &str = "
set -e
ip link set lo up
mount -t proc -o subset=pid proc /proc
mount --bind / /
mount -o remount,bind,ro /
exec setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs --bounding-set=-all,+net_bind_service \\
    --inh-caps=-all,+net_bind_service --ambient-caps=-all,+net_bind_service \"$@\"
";
