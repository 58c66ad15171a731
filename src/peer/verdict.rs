//! What became of a call: whether it connected, which way it went, and why not another way. For people and as JSON.
//!
//! The JSON is one object; members are added, never renamed. Times are milliseconds since both peers were in the room, unless they say otherwise.
//!
//! ```json
//! { "version": 1, "connected": true, "path": "direct" | "relay" | null, "expected": "direct" | "relay" | "any", "as_expected": true,
//!   "failure": null | { "code": "…", "message": "…" },
//!   "pair": null | { "local": END, "remote": END },              // the selected pair as we see it
//!   "theirs": null | { "local": "host", "remote": "relay" },     // the candidate types as the other end sees them, when it is a hairpin peer
//!   "candidates": { "local": [CANDIDATE], "remote": [CANDIDATE] },
//!   "checks": [ { "local": "192.0.2.1:5", "remote": "192.0.2.2:6", "sent": 3, "answered": 2 } ],
//!   "steps": { "welcome": 3, "first_candidate": 1, "gathered": 40, "ice": 120, "connected": 180, "channel": 200, "first_message": 210 },
//!   "messages": { "sent": 99, "answered": 99, "received": 99, "lost_percent": 0.0, "longest_silence_ms": 110,
//!                 "rtt_ms": null | { "least": 0.4, "mean": 0.6, "most": 2.0 } },
//!   "media": null | { "audio": { "sent": 100, "received": 99 }, "video": { "sent": 20, "received": 20 } },
//!   "moves": [ { "at": 5000, "from": "direct", "to": "relay", "silent_ms": 3200, "restarted": false } ] }
//! ```
//!
//! END is `{ "type": "host" | "srflx" | "prflx" | "relay", "address": "…", "server": null | "turn:…", "transport": null | "udp" | "tcp" | "tls" }`, the latter two for
//! our own relayed end; CANDIDATE is `{ "type", "address", "server", "at", "fate": "selected" | "unused" | "unanswered" | "failed", "why": null | "…" }`.

use std::fmt;
use std::net::SocketAddr;
use std::process::ExitCode;

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

/// The verdict on one call. See the module's page for the JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The version of this shape.
    pub version: u8,
    /// Whether a data channel opened.
    pub connected: bool,
    /// Which way the call went at its end.
    pub path: Option<Path>,
    /// Which way it was expected to go.
    pub expected: Expected,
    /// Whether it connected, and that way.
    pub as_expected: bool,
    /// Why it did not connect.
    pub failure: Option<Failure>,
    /// The selected pair.
    pub pair: Option<Pair>,
    /// The types of the other end's selected pair.
    pub theirs: Option<Types>,
    /// Every candidate.
    pub candidates: Candidates,
    /// Every pair on which we sent connectivity checks.
    pub checks: Vec<Checks>,
    /// When each step was reached.
    pub steps: Steps,
    /// The numbered messages.
    pub messages: Messages,
    /// Audio and video, when asked for.
    pub media: Option<Media>,
    /// How the path changed during the call.
    pub moves: Vec<Move>,
}

/// Which way a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// From one to the other.
    Direct,
    /// Through a TURN server, at either end.
    Relay,
}

/// Which way a call is expected to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Expected {
    /// From one to the other.
    Direct,
    /// Through a TURN server.
    Relay,
    /// Any way.
    #[default]
    Any,
}

/// Why a call did not come about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// A word for programs: `signaling`, `servers`, `nobody`, `left`, `network`, `sdp`, `ice`, `stopped`, `lost`.
    pub code: &'static str,
    /// A sentence for people.
    pub message: String,
}

impl Failure {
    /// A failure with its word and its sentence.
    pub fn new(code: &'static str, message: impl Into<String>) -> Failure {
        Failure {
            code,
            message: message.into(),
        }
    }
}

/// The two ends of a selected pair.
#[derive(Clone, Debug, Serialize)]
pub struct Pair {
    /// Ours.
    pub local: End,
    /// Theirs.
    pub remote: End,
}

/// One end of a pair.
#[derive(Clone, Debug, Serialize)]
pub struct End {
    /// The candidate's type.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Its address.
    pub address: SocketAddr,
    /// The server that relays for it, where that is ours to know.
    pub server: Option<String>,
    /// The transport to that server.
    pub transport: Option<&'static str>,
}

/// A candidate's type. RFC 8445 §5.1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An address of the machine.
    Host,
    /// What a server saw.
    Srflx,
    /// What the other peer saw.
    Prflx,
    /// A relayed address.
    Relay,
}

/// The types of a pair's ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Types {
    /// The other peer's own end.
    pub local: Kind,
    /// Our end as it sees it.
    pub remote: Kind,
}

/// All candidates.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Candidates {
    /// Ours.
    pub local: Vec<Candidate>,
    /// Theirs.
    pub remote: Vec<Candidate>,
}

/// A candidate, or what should have become one.
#[derive(Clone, Debug, Serialize)]
pub struct Candidate {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Its address, unless it failed.
    pub address: Option<SocketAddr>,
    /// The server it came from.
    pub server: Option<String>,
    /// When it was there.
    pub at: Option<u64>,
    /// What became of it.
    pub fate: Fate,
    /// Why.
    pub why: Option<String>,
}

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It is in the selected pair.
    Selected,
    /// It works, or was not tried; another was better.
    Unused,
    /// Checks from or to it stayed without answer.
    Unanswered,
    /// It never came to be.
    Failed,
}

/// The connectivity checks on one pair.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Checks {
    /// The address that we sent from.
    pub local: SocketAddr,
    /// The address that we sent to.
    pub remote: SocketAddr,
    /// Binding requests sent.
    pub sent: u32,
    /// Binding successes received.
    pub answered: u32,
}

/// When each step was reached, in milliseconds since both peers were in the room (earlier ones count as 0).
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Steps {
    /// The signaling endpoint let us in.
    pub welcome: Option<u64>,
    /// The first candidate was there.
    pub first_candidate: Option<u64>,
    /// All servers had been asked.
    pub gathered: Option<u64>,
    /// ICE had a working pair.
    pub ice: Option<u64>,
    /// DTLS stood.
    pub connected: Option<u64>,
    /// The data channel was open.
    pub channel: Option<u64>,
    /// The first message had come.
    pub first_message: Option<u64>,
}

/// The numbered messages of a call.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Messages {
    /// Sent by us.
    pub sent: u64,
    /// Answered by the other.
    pub answered: u64,
    /// Received from the other.
    pub received: u64,
    /// The share of ours that got no answer.
    pub lost_percent: f64,
    /// The longest time between two messages that came in.
    pub longest_silence_ms: u64,
    /// Round trips.
    pub rtt_ms: Option<RoundTrips>,
}

/// Round trips in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RoundTrips {
    /// The shortest.
    pub least: f64,
    /// On average.
    pub mean: f64,
    /// The longest.
    pub most: f64,
}

/// Frames of both kinds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Media {
    /// Audio frames of 20 ms.
    pub audio: Frames,
    /// Video frames.
    pub video: Frames,
}

/// Frames of one kind.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Frames {
    /// Sent.
    pub sent: u64,
    /// Received whole.
    pub received: u64,
}

/// A change of path in mid-call.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Move {
    /// When the new path carried its first message.
    pub at: u64,
    /// The way before.
    pub from: Path,
    /// The way after.
    pub to: Path,
    /// How long nothing came in.
    pub silent_ms: u64,
    /// Whether it took an ICE restart.
    pub restarted: bool,
}

impl Verdict {
    /// 0 connected as expected, 3 connected another way, 4 not connected.
    pub fn exit_code(&self) -> ExitCode {
        match (self.connected, self.as_expected) {
            (true, true) => ExitCode::SUCCESS,
            (true, false) => ExitCode::from(3),
            (false, _) => ExitCode::from(4),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.headline())?;
        if let Some(pair) = &self.pair {
            writeln!(f, "  {} ⇄ {}", pair.local, pair.remote)?;
        }
        if let Some(types) = self.theirs {
            writeln!(
                f,
                "  as the other end sees it: {} ⇄ {}",
                types.local.name(),
                types.remote.name()
            )?;
        }
        let Messages {
            sent,
            answered,
            received,
            lost_percent,
            longest_silence_ms,
            rtt_ms,
        } = self.messages;
        if self.connected {
            write!(
                f,
                "  messages: {sent} sent, {answered} answered ({lost_percent:.1} % lost), {received} received"
            )?;
            if let Some(RoundTrips { least, mean, most }) = rtt_ms {
                write!(f, "; round trip {least:.1} / {mean:.1} / {most:.1} ms")?;
            }
            writeln!(f, "; longest silence {longest_silence_ms} ms")?;
        }
        if let Some(Media { audio, video }) = self.media {
            let (to, from) = ((audio.sent, video.sent), (audio.received, video.received));
            writeln!(
                f,
                "  frames: audio {} sent, {} received; video {} sent, {} received",
                to.0, from.0, to.1, from.1
            )?;
        }
        for moved in &self.moves {
            let how = if moved.restarted {
                " after an ICE restart"
            } else {
                ""
            };
            writeln!(
                f,
                "  {} ms: {} to {}{how}, {} ms of silence",
                moved.at,
                moved.from.name(),
                moved.to.name(),
                moved.silent_ms
            )?;
        }
        let steps: Vec<_> = self
            .steps
            .named()
            .into_iter()
            .filter_map(|(name, at)| Some(format!("{name} {}", at?)))
            .collect();
        writeln!(f, "  milliseconds: {}", steps.join(", "))?;
        write!(f, "{}", self.table())
    }
}

impl Verdict {
    fn headline(&self) -> String {
        match (&self.failure, self.path) {
            (Some(Failure { message, .. }), _) => format!("NOT CONNECTED: {message}"),
            (None, Some(path)) if self.as_expected => format!("CONNECTED, {}", path.name()),
            (None, Some(path)) => format!(
                "CONNECTED, {}, but {} was expected",
                path.name(),
                self.expected.name()
            ),
            (None, None) => "CONNECTED, by a path that could not be told".into(),
        }
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table
            .load_style(UTF8_BORDERS_ONLY)
            .set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header([
            "",
            "candidate",
            "address",
            "server",
            "ms",
            "what became of it",
        ]);
        for (side, list) in [
            ("ours", &self.candidates.local),
            ("theirs", &self.candidates.remote),
        ] {
            for candidate in list {
                let fate = match &candidate.why {
                    Some(why) => format!("{}: {why}", candidate.fate.name()),
                    None => candidate.fate.name().to_owned(),
                };
                table.add_row([
                    side.to_owned(),
                    candidate.kind.name().to_owned(),
                    candidate
                        .address
                        .map(|address| address.to_string())
                        .unwrap_or_default(),
                    candidate.server.clone().unwrap_or_default(),
                    candidate.at.map(|at| at.to_string()).unwrap_or_default(),
                    fate,
                ]);
            }
        }
        table
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.address)?;
        match (&self.server, self.transport) {
            (Some(server), Some(transport)) => write!(f, " (by {server} over {transport})"),
            _ => Ok(()),
        }
    }
}

impl Path {
    /// `direct`, `relay`.
    pub const fn name(self) -> &'static str {
        match self {
            Path::Direct => "direct",
            Path::Relay => "relay",
        }
    }
}

impl Expected {
    /// Whether this way is fine.
    pub fn admits(self, path: Path) -> bool {
        matches!(
            (self, path),
            (Expected::Any, _) | (Expected::Direct, Path::Direct) | (Expected::Relay, Path::Relay)
        )
    }

    const fn name(self) -> &'static str {
        match self {
            Expected::Direct => "direct",
            Expected::Relay => "relay",
            Expected::Any => "any",
        }
    }
}

impl Kind {
    /// As SDP writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Host => "host",
            Kind::Srflx => "srflx",
            Kind::Prflx => "prflx",
            Kind::Relay => "relay",
        }
    }

    /// The type that SDP writes so.
    pub fn from_name(name: &str) -> Option<Kind> {
        [Kind::Host, Kind::Srflx, Kind::Prflx, Kind::Relay]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

impl Fate {
    const fn name(self) -> &'static str {
        match self {
            Fate::Selected => "selected",
            Fate::Unused => "not needed",
            Fate::Unanswered => "no answer to checks",
            Fate::Failed => "failed",
        }
    }
}

impl Steps {
    fn named(&self) -> [(&'static str, Option<u64>); 7] {
        let Steps {
            welcome,
            first_candidate,
            gathered,
            ice,
            connected,
            channel,
            first_message,
        } = *self;
        [
            ("in the room", welcome),
            ("first candidate", first_candidate),
            ("all gathered", gathered),
            ("ICE", ice),
            ("DTLS", connected),
            ("channel", channel),
            ("first message", first_message),
        ]
    }
}
