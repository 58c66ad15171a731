//! Headless Firefox, driven over WebDriver BiDi: it has no pipe, so the WebSocket is opened inside
//! its namespace.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::stream::MaybeTlsStream;
use tokio_tungstenite::tungstenite::{Message, WebSocket, connect};

use crate::support::namespace::Namespace;

/// A running Firefox with one page, stopped when it is dropped.
pub struct Firefox {
    child: Child,
    line: WebSocket<MaybeTlsStream<TcpStream>>,
    tab: String,
    asked: u64,
}

impl Firefox {
    /// Starts Firefox in a home with a fake camera and microphone.
    pub fn launch(home: &Namespace, name: &str) -> Firefox {
        let profile = std::env::temp_dir().join(format!("firefox-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&profile).expect("a profile");
        std::fs::write(profile.join("user.js"), PREFERENCES).expect("its preferences");
        let (child, line) = home.enter(|| {
            let mut command = Command::new(PROGRAM);
            command
                .args([
                    "--headless",
                    "--no-remote",
                    "--remote-debugging-port",
                    "9222",
                    "--profile",
                ])
                .arg(&profile);
            command
                .env("HOME", &profile)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped());
            let mut child = command.spawn().expect("start Firefox");
            let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
            let listens = lines
                .by_ref()
                .map_while(Result::ok)
                .any(|line| line.contains("WebDriver BiDi listening"));
            assert!(listens, "Firefox ended before it listened");
            std::thread::spawn(move || lines.for_each(drop));
            let (line, _) = connect("ws://127.0.0.1:9222/session").expect("its WebSocket");
            (child, line)
        });
        let mut firefox = Firefox {
            child,
            line,
            tab: String::new(),
            asked: 0,
        };
        firefox.ask("session.new", json!({"capabilities": {}}));
        let tab = firefox.ask("browsingContext.create", json!({"type": "tab"}));
        firefox.tab = tab["context"].as_str().expect("a tab").to_owned();
        firefox
    }

    /// Goes to `url` and waits until the document is complete.
    pub fn open(&mut self, url: &str) {
        let tab = self.tab.clone();
        self.ask(
            "browsingContext.navigate",
            json!({"context": tab, "url": url, "wait": "complete"}),
        );
    }

    /// The value of an expression, as JSON; null when it throws.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let how = json!({
            "expression": format!("JSON.stringify({expression})"), "target": {"context": self.tab},
            "awaitPromise": true, "userActivation": true,
        });
        let answer = self.ask("script.evaluate", how);
        serde_json::from_str(answer["result"]["value"].as_str().unwrap_or("null"))
            .unwrap_or_default()
    }

    /// Waits until an expression is true.
    pub fn wait(&mut self, expression: &str) -> Result<(), String> {
        let end = Instant::now() + Duration::from_secs(40);
        while self.evaluate(&format!("Boolean({expression})")) != true {
            if Instant::now() > end {
                let shown = self.evaluate("document.body.innerText");
                return Err(format!(
                    "never came true: {expression}; the page shows {shown}"
                ));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.asked += 1;
        let id = self.asked;
        let question = json!({"id": id, "method": method, "params": parameters}).to_string();
        self.line
            .send(Message::text(question))
            .expect("Firefox listens");
        loop {
            let Message::Text(text) = self.line.read().expect("Firefox answers") else {
                continue;
            };
            let answer: Value = serde_json::from_str(text.as_str()).expect("Firefox speaks JSON");
            if answer["id"] == id {
                assert_eq!(answer["type"], "success", "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }
}

impl Drop for Firefox {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The name of the program in Debian.
pub const PROGRAM: &str = "firefox-esr";

/// A fake camera without a prompt, also on a page without TLS; real addresses as candidates; no
/// background traffic.
const PREFERENCES: &str = r#"
user_pref("media.navigator.permission.disabled", true);
user_pref("media.navigator.streams.fake", true);
user_pref("media.devices.insecure.enabled", true);
user_pref("media.getusermedia.insecure.enabled", true);
user_pref("media.peerconnection.ice.obfuscate_host_addresses", false);
user_pref("media.autoplay.default", 0);
user_pref("dom.security.https_first", false);
user_pref("dom.security.https_first_schemeless", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.startup.page", 0);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("app.update.enabled", false);
user_pref("security.sandbox.content.level", 0);
"#;
