//! Drives a headless Chromium over the pipe of the DevTools protocol: no port, no WebSocket, no
//! second program.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::missing::skipped;
use base64::Engine;
use serde_json::{Value, json};

/// A running browser, stopped when it is dropped.
pub struct Browser {
    child: Child,
    profile: PathBuf,
    line: DevTools,
}

/// One page in a browser context of its own: no cookie, no storage and no permission is shared
/// between two pages.
pub struct Page {
    line: DevTools,
    target: String,
    tab: String,
    context: String,
}

/// How a page looks.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub width: u32,
    pub height: u32,
    pub dark: bool,
    pub phone: bool,
}

/// The DevTools connection to a browser, shared by its pages.
#[derive(Clone)]
struct DevTools(Arc<Mutex<Ends>>);

struct Ends {
    input: ChildStdin,
    next: u64,
    waiting: Waiting,
}

type Waiting = Arc<Mutex<HashMap<u64, Sender<Value>>>>;

/// The path of Chromium, if it is installed.
pub fn chromium() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|file| file.is_file())
}

/// Returns true if Chromium is installed; otherwise the calling test is reported as skipped.
pub fn is_chromium_installed() -> bool {
    let found = chromium().is_some();
    if !found {
        skipped("chromium is not installed; tests/all installs it");
    }
    found
}

impl Browser {
    /// Starts Chromium with fake camera and microphone and without asking for permissions.
    pub fn launch() -> Browser {
        Browser::launch_with(
            &[],
            &[
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
            ],
        )
    }

    /// Starts Chromium with these flags, under `wrapper` (such as `ip netns exec NAME`) if that is
    /// not empty.
    pub fn launch_with(wrapper: &[&str], flags: &[&str]) -> Browser {
        let chromium = chromium().expect("chromium is here");
        let number = std::time::UNIX_EPOCH
            .elapsed()
            .map_or(0, |now| now.as_nanos());
        let profile =
            std::env::temp_dir().join(format!("hairpin-browser-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&profile).expect("a profile");
        let mut command = match wrapper.split_first() {
            Some((program, rest)) => {
                let mut command = Command::new(program);
                command.args(rest).arg("sh");
                command
            }
            None => Command::new("sh"),
        };
        // The pipe is file descriptors 3 and 4; `exec` makes the browser itself our child.
        command
            .arg("-c")
            .arg(r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#)
            .arg(chromium);
        command.args([
            "--headless=new",
            "--remote-debugging-pipe",
            "--no-sandbox",
            "--no-first-run",
        ]);
        command.args([
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-sync",
        ]);
        command.args([
            "--disable-component-update",
            "--hide-scrollbars",
            "--autoplay-policy=no-user-gesture-required",
        ]);
        command
            .arg(format!("--user-data-dir={}", profile.display()))
            .args(flags)
            .arg("about:blank");
        command
            .env("HOME", &profile)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("chromium starts");
        let (input, output) = (
            child.stdin.take().expect("a pipe"),
            child.stdout.take().expect("a pipe"),
        );
        let waiting = Waiting::default();
        let answers = waiting.clone();
        std::thread::spawn(move || read(BufReader::new(output), &answers));
        let line = DevTools(Arc::new(Mutex::new(Ends {
            input,
            next: 1,
            waiting,
        })));
        Browser {
            child,
            profile,
            line,
        }
    }

    /// A new page in a context of its own, on `url`.
    pub fn page(&self, url: &str) -> Page {
        let context = self
            .line
            .ask(None, "Target.createBrowserContext", json!({}));
        let context = text(&context["browserContextId"]);
        let about = json!({"url": "about:blank", "browserContextId": context});
        let target = text(&self.line.ask(None, "Target.createTarget", about)["targetId"]);
        let attach = json!({"targetId": target, "flatten": true});
        let tab = text(&self.line.ask(None, "Target.attachToTarget", attach)["sessionId"]);
        let page = Page {
            line: self.line.clone(),
            target,
            tab,
            context,
        };
        page.ask("Page.enable", json!({}));
        page.ask("Runtime.enable", json!({}));
        page.open(url);
        page
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

impl Page {
    /// Goes to `url` and waits until the document is complete.
    pub fn open(&self, url: &str) {
        let answer = self.ask("Page.navigate", json!({"url": url}));
        assert!(answer["errorText"].is_null(), "{url}: {answer}");
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'");
    }

    /// The value of a JavaScript expression; promises are awaited. Panics when it throws.
    pub fn evaluate(&self, expression: &str) -> Value {
        let how = json!({"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true});
        let answer = self.ask("Runtime.evaluate", how);
        assert!(
            answer["exceptionDetails"].is_null(),
            "{expression:.200}: {}",
            answer["exceptionDetails"]
        );
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is truthy.
    pub fn wait(&self, expression: &str) {
        self.wait_for(expression, TIMEOUT);
    }

    /// Waits until an expression is truthy, for `timeout` at most; otherwise panics with the text
    /// of the page.
    pub fn wait_for(&self, expression: &str, timeout: Duration) {
        let end = Instant::now() + timeout;
        while !self.holds(expression) {
            if Instant::now() > end {
                let shown = self.evaluate("document.body.innerText");
                let state = self.evaluate("JSON.stringify(globalThis.hairpin?.snapshot() ?? null)");
                panic!("still false: {expression}\nthe page shows: {shown}\nits state: {state}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Returns true if an expression is truthy now; false while a page is loading.
    pub fn holds(&self, expression: &str) -> bool {
        let how = json!({"expression": format!("Boolean({expression})"), "returnByValue": true});
        self.ask("Runtime.evaluate", how)["result"]["value"] == true
    }

    /// Clicks the element with this id, as a person does.
    pub fn click(&self, id: &str) {
        self.evaluate(&format!("document.getElementById({id:?}).click()"));
    }

    /// Sets the value of the input with this id.
    pub fn fill(&self, id: &str, words: &str) {
        self.evaluate(&format!(
            "document.getElementById({id:?}).value = {words:?}"
        ));
    }

    /// Presses a key such as `Tab` or `Enter`.
    pub fn press(&self, key: &str) {
        let (code, words) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            " " => (32, " "),
            _ => panic!("a key that is known"),
        };
        let how = |kind: &str| json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": words});
        self.ask(
            "Input.dispatchKeyEvent",
            how(if words.is_empty() {
                "rawKeyDown"
            } else {
                "keyDown"
            }),
        );
        self.ask(
            "Input.dispatchKeyEvent",
            json!({"type": "keyUp", "key": key, "windowsVirtualKeyCode": code}),
        );
    }

    /// Grants or denies permissions (`camera`, `microphone`) for every origin of this page's
    /// context.
    pub fn permit(&self, name: &str, granted: bool) {
        let setting = if granted { "granted" } else { "denied" };
        let how = json!({"permission": {"name": name}, "setting": setting, "browserContextId": self.context});
        self.line.ask(None, "Browser.setPermission", how);
    }

    /// Runs a script in every document opened from now on, before the document's own scripts.
    pub fn prepare(&self, script: &str) {
        self.ask(
            "Page.addScriptToEvaluateOnNewDocument",
            json!({"source": script}),
        );
    }

    /// Exempts injected scripts from the page's Content Security Policy.
    pub fn bypass_policy(&self) {
        self.ask("Page.setBypassCSP", json!({"enabled": true}));
    }

    /// Sets size and color scheme.
    pub fn look(&self, look: Look) {
        let size = json!({"width": look.width, "height": look.height, "deviceScaleFactor": 1, "mobile": look.phone});
        self.ask("Emulation.setDeviceMetricsOverride", size);
        let scheme = if look.dark { "dark" } else { "light" };
        // Without animations, which a screenshot could catch half-way.
        let still = json!({"name": "prefers-reduced-motion", "value": "reduce"});
        let features =
            json!({"features": [{"name": "prefers-color-scheme", "value": scheme}, still]});
        self.ask("Emulation.setEmulatedMedia", features);
    }

    /// Takes a picture of the whole page, as a PNG.
    pub fn screenshot(&self, file: &Path) {
        let answer = self.ask(
            "Page.captureScreenshot",
            json!({"format": "png", "captureBeyondViewport": true}),
        );
        let octets = base64::engine::general_purpose::STANDARD
            .decode(text(&answer["data"]))
            .expect("base64");
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, octets).expect("a picture");
    }

    /// Crashes the page, so that it runs no handler for its end.
    pub fn crash(self) {
        self.line.tell(Some(&self.tab), "Page.crash", json!({}));
    }

    /// Closes the page as a person does.
    pub fn close(self) {
        self.line
            .ask(None, "Target.closeTarget", json!({"targetId": self.target}));
    }

    fn ask(&self, method: &str, parameters: Value) -> Value {
        self.line.ask(Some(&self.tab), method, parameters)
    }
}

impl DevTools {
    fn ask(&self, tab: Option<&str>, method: &str, parameters: Value) -> Value {
        let answer = self.tell(tab, method, parameters).recv_timeout(TIMEOUT);
        let answer = answer.unwrap_or_else(|_| panic!("no answer to {method}"));
        assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
        answer["result"].clone()
    }

    fn tell(&self, tab: Option<&str>, method: &str, parameters: Value) -> Receiver<Value> {
        let mut ends = self.0.lock().expect("the line");
        let id = ends.next;
        ends.next += 1;
        let (answer, answered) = channel();
        ends.waiting.lock().expect("the list").insert(id, answer);
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if let Some(tab) = tab {
            message["sessionId"] = json!(tab);
        }
        let mut octets = message.to_string().into_bytes();
        octets.push(0);
        ends.input.write_all(&octets).expect("the browser listens");
        answered
    }
}

/// Hands each response to the call that waits for it; ignores events.
fn read(mut output: impl BufRead, waiting: &Waiting) {
    let mut octets = Vec::new();
    while output.read_until(0, &mut octets).is_ok_and(|read| read > 0) {
        octets.pop();
        let message: Value = serde_json::from_slice(&octets).unwrap_or_default();
        octets.clear();
        let Some(id) = message["id"].as_u64() else {
            continue;
        };
        if let Some(waiter) = waiting.lock().expect("the list").remove(&id) {
            let _ = waiter.send(message);
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

/// Long enough for two busy cores.
const TIMEOUT: Duration = Duration::from_secs(30);
