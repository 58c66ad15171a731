//! The files of `deploy/`: they name only metrics and keys that exist, and their own tools accept
//! them.

use crate::support::directory::Directory;
use crate::support::process::{Server, Setup};
use crate::tools;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn dashboards_and_alerts_use_metrics_that_exist() {
    let (_files, server) = server("dashboards");
    server.udp().allocate();
    let (_, page) = server.get("/metrics");
    let known: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    for file in ["grafana.json", "alerts.yaml"] {
        let text = read(file);
        let used = names(&text);
        assert!(used.len() > 5, "{file}: {used:?}");
        for name in used {
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix));
            assert!(
                known.contains(name) || family.is_some_and(|f| known.contains(f)),
                "{file} uses {name}"
            );
        }
    }
}

/// Every metric once, with help and type and then its samples; names and units follow Prometheus'
/// conventions.
#[test]
fn the_metrics_page_is_well_formed() {
    let (_files, server) = server("page");
    let (_, page) = server.get("/metrics");
    let (mut seen, mut family) = (BTreeSet::new(), "");
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').unwrap();
            assert!(seen.insert(name), "{name} twice");
            assert!(text.len() > 5 && text.ends_with('.'), "{line}");
            family = name;
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, family);
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
        } else {
            let name = &line[..line.find(['{', ' ']).unwrap()];
            assert!(name.starts_with(family), "{line} stands below {family}");
            assert!(
                line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(),
                "{line}"
            );
        }
    }
    let Some(mut promtool) = tools::installed("promtool") else {
        return;
    };
    let file =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("metrics-{}", std::process::id()));
    std::fs::write(&file, &page).unwrap();
    tools::content(
        promtool
            .args(["check", "metrics"])
            .stdin(std::fs::File::open(&file).unwrap()),
    );
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn alerts_fire_as_their_examples_expect() {
    let Some(mut promtool) = tools::installed("promtool") else {
        return;
    };
    tools::content(
        promtool
            .args(["check", "rules"])
            .arg(deploy().join("alerts.yaml")),
    );
    let Some(mut promtool) = tools::installed("promtool") else {
        return;
    };
    tools::content(
        promtool
            .args(["test", "rules"])
            .arg(root().join("tests/process/alerts.yaml")),
    );
}

/// Every expression is valid PromQL, and panels do not overlap.
#[test]
fn the_dashboard_is_valid() {
    let dashboard: Value = serde_json::from_str(&read("grafana.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut taken = BTreeSet::new();
    let mut rules = String::from("groups: [{ name: dashboard, rules: [\n");
    for (panel, number) in panels.iter().zip(1..) {
        assert_eq!(panel["id"], number, "{}", panel["title"]);
        let place = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        let [x, y, w, h] = place;
        let mut fields = (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y)));
        assert!(
            x + w <= 24 && fields.all(|field| taken.insert(field)),
            "{}",
            panel["title"]
        );
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"]
                .as_str()
                .unwrap()
                .replace("$__rate_interval", "5m");
            rules += &format!(
                "  {{ record: 'panel:{number}', expr: {} }},\n",
                Value::from(expression)
            );
        }
    }
    rules += "]}]\n";
    let Some(mut promtool) = tools::installed("promtool") else {
        return;
    };
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("dashboard-{}.yaml", std::process::id()));
    std::fs::write(&file, rules).unwrap();
    tools::content(promtool.args(["check", "rules"]).arg(&file));
    std::fs::remove_file(&file).unwrap();
}

/// `systemd-analyze security` rates the exposure below 2.0.
#[test]
fn the_unit_is_sandboxed() {
    let Some(mut analyze) = tools::installed("systemd-analyze") else {
        return;
    };
    let unit = deploy().join("systemd/hairpin.service");
    tools::content(
        analyze
            .args(["security", "--offline=yes", "--threshold=20"])
            .arg(&unit),
    );
}

/// With the program at the path in the unit.
#[test]
fn the_unit_is_well_formed() {
    let Some(mut analyze) = tools::installed("systemd-analyze") else {
        return;
    };
    let directory = Directory::new("unit");
    let unit =
        read("systemd/hairpin.service").replace("/usr/bin/hairpin", env!("CARGO_BIN_EXE_hairpin"));
    let verified = tools::content(analyze.args([
        "verify",
        "--man=no",
        &directory.write("hairpin.service", &unit),
    ]));
    assert_eq!(String::from_utf8_lossy(&verified.stderr), "");
}

/// A host-network DaemonSet or a load balancer per pod, readiness, drain hook, PodDisruptionBudget.
#[test]
fn the_chart_renders_valid_manifests() {
    let directory = Directory::new("chart");
    assert!(read("kubernetes/hairpin/Chart.yaml").contains(concat!(
        "appVersion: \"",
        env!("CARGO_PKG_VERSION"),
        "\""
    )));
    let balanced = "mode=loadbalancer,loadBalancers={203.0.113.7,203.0.113.8},relayPorts.first=50000,relayPorts.last=50010";
    for set in ["mode=daemonset", &format!("{balanced},tlsSecret=relay")] {
        let (Some(mut lint), Some(mut template)) = (tools::helm(), tools::helm()) else {
            return;
        };
        let chart = deploy().join("kubernetes/hairpin");
        tools::content(lint.args(["lint", "--strict", "--set", set]).arg(&chart));
        let made = tools::content(
            template
                .args(["template", "relay", "--set", set])
                .arg(&chart),
        )
        .stdout;
        let made = String::from_utf8(made).unwrap();
        for part in [
            "PodDisruptionBudget",
            "path: /readyz",
            "terminationGracePeriodSeconds: 3630",
            "\"3600s\"",
            "\"[$(POD_IP)]:9641\"",
        ] {
            assert!(made.contains(part), "{set}: {part}");
        }
        assert_eq!(made.contains("hostNetwork: true"), set == "mode=daemonset");
        assert_eq!(
            made.matches("type: LoadBalancer").count(),
            if set == "mode=daemonset" { 0 } else { 2 }
        );
        let variables = made.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for variable in variables.filter_map(|word| word.strip_prefix("HAIRPIN_")) {
            let key = variable.to_lowercase();
            assert!(
                variable.is_empty() || hairpin::config::schema::key(&key).is_some(),
                "{variable}"
            );
        }
        let file = directory.write("made.yaml", &made);
        let Some(mut validate) = tools::kubernetes_validate() else {
            return;
        };
        tools::content(validate.arg(file));
    }
    for wrong in ["mode=pods", "mode=loadbalancer"] {
        let Some(mut template) = tools::helm() else {
            return;
        };
        let output = template
            .args(["template", "relay", "--set", wrong])
            .arg(deploy().join("kubernetes/hairpin"));
        assert!(!output.output().unwrap().status.success(), "{wrong}");
    }
}

#[test]
fn the_container_file_passes_the_linter() {
    let Some(mut hadolint) = tools::hadolint() else {
        return;
    };
    tools::content(hadolint.arg(deploy().join("container/Containerfile")));
}

/// Every file that `cargo deb` packs exists, and the file with secrets is a conffile that is not
/// world-readable.
#[test]
fn the_debian_package_is_complete() {
    let manifest: toml::Table = std::fs::read_to_string(root().join("Cargo.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let package = &manifest["package"]["metadata"]["deb"];
    for asset in package["assets"].as_array().unwrap() {
        let [from, to, mode] = [0, 1, 2].map(|part| asset[part].as_str().unwrap());
        assert!(
            from == "target/release/hairpin" || root().join(from).is_file(),
            "{from}"
        );
        assert_eq!(
            mode,
            if to == "etc/hairpin/" {
                "640"
            } else if to == "usr/bin/" {
                "755"
            } else {
                "644"
            }
        );
    }
    assert_eq!(
        package["conf-files"][0].as_str(),
        Some("/etc/hairpin/hairpin.toml")
    );
    assert!(
        root()
            .join(package["systemd-units"]["unit-scripts"].as_str().unwrap())
            .join("hairpin.service")
            .is_file()
    );
    for script in ["postinst", "postrm"] {
        let file = root()
            .join(package["maintainer-scripts"].as_str().unwrap())
            .join(script);
        assert!(
            std::fs::read_to_string(&file)
                .unwrap()
                .contains("#DEBHELPER#")
        );
        tools::content(Command::new("sh").arg("-n").arg(file));
    }
}

/// A server with TLS and usage records, so that every metric exists.
fn server(name: &str) -> (Directory, Server) {
    let files = Directory::new(name);
    let (chain, key) = crate::status::certificate();
    let (chain, key) = (
        files.write("chain.pem", &chain),
        files.write("key.pem", &key),
    );
    let usage = files.join("usage.jsonl");
    let setup = Setup::new()
        .flag("--web", "off")
        .flag("--certificate", &chain)
        .flag("--private-key", &key);
    let server = setup.flag("--usage-file", usage.to_str().unwrap()).start();
    (files, server)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn deploy() -> PathBuf {
    root().join("deploy")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(deploy().join(file)).unwrap()
}

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| word.starts_with("hairpin_") || word.starts_with("process_"))
        .collect()
}
