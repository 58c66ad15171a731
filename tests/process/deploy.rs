//! Issue 8: "`deploy/grafana.json` and `deploy/alerts.yaml` use only metrics that exist (tested)"; "units, chart and dashboards linted
//! by their own tools where a registry carries them; metrics parsed by a Prometheus parser".

use crate::fixture::Setup;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn dashboards_and_alerts_use_metrics_that_exist() {
    let server = Setup::new().flag("--web", "off").start();
    server.udp().allocate();
    let (_, page) = server.get("/metrics");
    let known: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    for file in ["grafana.json", "alerts.yaml"] {
        let text = std::fs::read_to_string(deploy().join(file)).unwrap();
        let used = names(&text);
        assert!(used.len() > 5, "{file}: {used:?}");
        for name in used {
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            assert!(known.contains(name) || family.is_some_and(|f| known.contains(f)), "{file} uses {name}");
        }
    }
    let dashboard = std::fs::read_to_string(deploy().join("grafana.json")).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&dashboard).unwrap()["panels"].as_array().unwrap().len() > 5);
}

/// Every metric once, with help and type, samples below it, and names and units as Prometheus' conventions have them.
#[test]
fn the_metrics_page_is_well_formed() {
    let server = Setup::new().flag("--web", "off").start();
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
            assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
        }
    }
    if !installed("promtool") {
        return skipped("promtool");
    }
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("metrics-{}", std::process::id()));
    std::fs::write(&file, &page).unwrap();
    let checked =
        Command::new("sh").args(["-c", &format!("promtool check metrics < {}", file.display())]).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let rules = Command::new("promtool").args(["check", "rules"]).arg(deploy().join("alerts.yaml")).output().unwrap();
    assert!(rules.status.success(), "{}", String::from_utf8_lossy(&rules.stderr));
}

/// "`systemd-analyze security` under 2.0 where the tool is there".
#[test]
fn the_unit_is_sandboxed() {
    if !installed("systemd-analyze") {
        return skipped("systemd-analyze");
    }
    let unit = deploy().join("systemd/hairpin.service");
    let output =
        Command::new("systemd-analyze").args(["security", "--offline=yes", "--threshold=20"]).arg(&unit).output();
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_chart_is_linted() {
    if !installed("helm") {
        return skipped("helm");
    }
    for mode in ["daemonset", "statefulset"] {
        let chart = deploy().join("kubernetes/hairpin");
        let set = format!("mode={mode},relayPorts.first=50000,relayPorts.last=50010");
        let output = Command::new("helm").arg("lint").arg(chart).args(["--set", &set]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

/// The metrics that a text names.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("hairpin_") || word.starts_with("process_")).collect()
}

fn installed(tool: &str) -> bool {
    Command::new("sh").args(["-c", &format!("command -v {tool}")]).output().unwrap().status.success()
}

/// These tools are an operator's, not needed to build or test the server.
fn skipped(tool: &str) {
    eprintln!("SKIPPED: {tool} is not installed");
}
