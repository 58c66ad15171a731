//! The verdict on a call: whether it connected, by which path, and why not by another; as text and
//! as JSON.
//!
//! The JSON is one object. Members are added, never renamed. Times are milliseconds since both
//! peers were in the room.
//!
//! ```json
//! { "version": 1, "connected": true, "path": "direct" | "relay" | null, "expected": "direct" | "relay" | "any", "as_expected": true,
//!   "failure": null | { "code": "…", "message": "…" },
//!   "pair": null | { "local": END, "remote": END },              // the selected pair as this peer sees it
//!   "theirs": null | { "local": "host", "remote": "relay" },     // the candidate types as the other peer sees them, if it reports them
//!   "candidates": { "local": [CANDIDATE], "remote": [CANDIDATE] },
//!   "checks": [ { "local": "192.0.2.1:5", "remote": "192.0.2.2:6", "sent": 3, "answered": 2 } ],
//!   "steps": { "welcome": 3, "first_candidate": 1, "gathered": 40, "ice": 120, "connected": 180, "channel": 200, "first_message": 210 },
//!   "messages": { "sent": 99, "answered": 99, "received": 99, "lost_percent": 0.0, "longest_silence_ms": 110,
//!                 "rtt_ms": null | { "least": 0.4, "mean": 0.6, "most": 2.0 } },
//!   "media": null | { "audio": { "sent": 100, "received": 99 }, "video": { "sent": 20, "received": 20 } },
//!   "moves": [ { "at": 5000, "from": "direct", "to": "relay", "silent_ms": 3200, "restarted": false } ] }
//! ```
//!
//! END is `{ "type": "host" | "srflx" | "prflx" | "relay", "address": "…", "server": null |
//! "turn:…", "transport": null | "udp" | "tcp" | "tls" }`, the latter two for our own relayed
//! candidate; CANDIDATE is `{ "type", "address", "server", "at", "fate": "selected" | "unused" |
//! "unanswered" | "failed", "why": null | "…" }`.

use std::fmt;
use std::net::SocketAddr;
use std::process::ExitCode;

use comfy_table::Table;
use serde::Serialize;

use crate::peer::table::bordered_table;

/// The verdict on one call.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The version of this format.
    pub version: u8,
    /// A data channel opened, and the call did not fail later.
    pub connected: bool,
    /// The path at the end of the call.
    pub path: Option<CallPath>,
    /// The path that the user expects.
    pub expected: ExpectedPath,
    /// The call connected by the expected path.
    pub as_expected: bool,
    /// Why the call failed.
    pub failure: Option<Failure>,
    /// The selected pair.
    pub pair: Option<SelectedPair>,
    /// The candidate types of the selected pair as the other peer sees them.
    pub theirs: Option<PairTypes>,
    /// Every candidate.
    pub candidates: Candidates,
    /// Every pair on which connectivity checks were sent.
    pub checks: Vec<PairChecks>,
    /// When each step was reached.
    pub steps: Steps,
    /// The numbered messages.
    pub messages: Messages,
    /// Audio and video frames, if requested.
    pub media: Option<MediaCounts>,
    /// Changes of the path during the call.
    #[serde(rename = "moves")]
    pub path_changes: Vec<PathChange>,
}

/// The path of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CallPath {
    /// Between the peers.
    Direct,
    /// Through a TURN server of either peer.
    Relay,
}

/// The path that the user expects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExpectedPath {
    /// Between the peers.
    Direct,
    /// Through a TURN server of either peer.
    Relay,
    /// Either.
    #[default]
    Any,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The kind of failure, for programs.
    pub code: FailureCode,
    /// What happened.
    pub message: String,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(code: FailureCode, message: impl Into<String>) -> Failure {
        Failure {
            code,
            message: message.into(),
        }
    }
}

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureCode {
    /// The signaling endpoint cannot be reached, or refuses.
    Signaling,
    /// The endpoint offers no usable TURN server, and only relayed candidates are allowed.
    Servers,
    /// No other peer entered the room.
    Nobody,
    /// The other peer left before the call connected.
    Left,
    /// This machine has no usable address or socket, or TLS cannot be configured.
    Network,
    /// An offer or an answer cannot be used.
    Sdp,
    /// No pair of candidates works.
    Ice,
    /// A signal ended the program before the call connected.
    Stopped,
    /// The path died and no other was found.
    Lost,
}

/// The two candidates of a selected pair.
#[derive(Clone, Debug, Serialize)]
pub struct SelectedPair {
    /// Our candidate.
    pub local: PairEnd,
    /// The candidate of the other peer.
    pub remote: PairEnd,
}

/// One candidate of a selected pair.
#[derive(Clone, Debug, Serialize)]
pub struct PairEnd {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: CandidateKind,
    /// Its address.
    pub address: SocketAddr,
    /// The TURN server of a relayed candidate; only for our own candidates.
    pub server: Option<String>,
    /// The transport to that server.
    pub transport: Option<&'static str>,
}

/// A candidate's type. RFC 8445 §5.1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CandidateKind {
    /// An address of the machine.
    Host,
    /// Server reflexive: an address as a server sees it.
    Srflx,
    /// Peer reflexive: an address as the other peer sees it.
    Prflx,
    /// A relayed address.
    Relay,
}

/// The types of a pair's candidates as one peer sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PairTypes {
    /// The type of its own candidate.
    pub local: CandidateKind,
    /// The type of the other peer's candidate.
    pub remote: CandidateKind,
}

/// All candidates of a call.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Candidates {
    /// Our candidates.
    pub local: Vec<CandidateReport>,
    /// The candidates of the other peer.
    pub remote: Vec<CandidateReport>,
}

/// A candidate, or a server that returned none.
#[derive(Clone, Debug, Serialize)]
pub struct CandidateReport {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: CandidateKind,
    /// Its address; `None` if the server returned none.
    pub address: Option<SocketAddr>,
    /// The server that returned it.
    pub server: Option<String>,
    /// When the candidate was gathered or received, or the server failed.
    pub at: Option<u64>,
    /// Whether it was used.
    pub fate: Fate,
    /// Why it was not used.
    pub why: Option<String>,
}

/// Whether a candidate was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It is in the selected pair.
    Selected,
    /// A better candidate was selected; this candidate works or was not tried.
    Unused,
    /// Connectivity checks from or to it were not answered.
    Unanswered,
    /// The server returned no candidate, or we cannot use it.
    Failed,
}

/// The connectivity checks on one pair.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PairChecks {
    /// The address that we sent from.
    pub local: SocketAddr,
    /// The address that we sent to.
    pub remote: SocketAddr,
    /// Binding requests sent.
    pub sent: u32,
    /// Success responses received.
    pub answered: u32,
}

/// When each step was reached, in milliseconds since both peers were in the room; 0 for earlier
/// steps.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Steps {
    /// The signaling endpoint admitted us to the room.
    pub welcome: Option<u64>,
    /// The first candidate was gathered.
    pub first_candidate: Option<u64>,
    /// All candidates were gathered.
    pub gathered: Option<u64>,
    /// ICE found a working pair.
    pub ice: Option<u64>,
    /// The DTLS handshake was complete.
    pub connected: Option<u64>,
    /// The data channel was open.
    pub channel: Option<u64>,
    /// The first message was received.
    pub first_message: Option<u64>,
}

/// The numbered messages of a call.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Messages {
    /// Messages sent.
    pub sent: u64,
    /// Messages sent that were answered.
    pub answered: u64,
    /// Messages received.
    pub received: u64,
    /// The share of messages sent that were not answered.
    pub lost_percent: f64,
    /// The longest time between two messages received.
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

/// Frames of audio and video.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct MediaCounts {
    /// Audio frames of 20 ms.
    pub audio: FrameCounts,
    /// Video frames.
    pub video: FrameCounts,
}

/// Frames of one track.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct FrameCounts {
    /// Frames sent.
    pub sent: u64,
    /// Frames received completely.
    pub received: u64,
}

/// A change of path during a call.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PathChange {
    /// When the first packet arrived by the new path.
    pub at: u64,
    /// The path before.
    pub from: CallPath,
    /// The path after.
    pub to: CallPath,
    /// Milliseconds without a message before the change.
    pub silent_ms: u64,
    /// ICE was restarted before.
    pub restarted: bool,
}

impl Verdict {
    /// 0 if connected as expected, 3 if connected by another path, 4 if not connected.
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
                "  as the other peer sees it: {} ⇄ {}",
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
        if let Some(MediaCounts { audio, video }) = self.media {
            writeln!(
                f,
                "  frames: audio {} sent, {} received; video {} sent, {} received",
                audio.sent, audio.received, video.sent, video.received
            )?;
        }
        for change in &self.path_changes {
            let restart = if change.restarted {
                " after an ICE restart"
            } else {
                ""
            };
            writeln!(
                f,
                "  {} ms: {} to {}{restart}, {} ms of silence",
                change.at,
                change.from.name(),
                change.to.name(),
                change.silent_ms
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
            (Some(Failure { message, .. }), _) => format!("not connected: {message}"),
            (None, Some(path)) if self.as_expected => format!("connected, {}", path.name()),
            (None, Some(path)) => format!(
                "connected, {}, but {} was expected",
                path.name(),
                self.expected.name()
            ),
            (None, None) => "connected, by an unknown path".into(),
        }
    }

    fn table(&self) -> Table {
        let mut table = bordered_table();
        table.set_header(["", "candidate", "address", "server", "ms", "result"]);
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

impl fmt::Display for PairEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.address)?;
        match (&self.server, self.transport) {
            (Some(server), Some(transport)) => write!(f, " (relayed by {server} over {transport})"),
            _ => Ok(()),
        }
    }
}

impl CallPath {
    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            CallPath::Direct => "direct",
            CallPath::Relay => "relay",
        }
    }
}

impl ExpectedPath {
    /// Returns true if the path is as expected.
    pub fn accepts(self, path: CallPath) -> bool {
        match self {
            ExpectedPath::Any => true,
            ExpectedPath::Direct => path == CallPath::Direct,
            ExpectedPath::Relay => path == CallPath::Relay,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            ExpectedPath::Direct => "direct",
            ExpectedPath::Relay => "relay",
            ExpectedPath::Any => "any",
        }
    }
}

impl CandidateKind {
    /// The name in SDP.
    pub const fn name(self) -> &'static str {
        match self {
            CandidateKind::Host => "host",
            CandidateKind::Srflx => "srflx",
            CandidateKind::Prflx => "prflx",
            CandidateKind::Relay => "relay",
        }
    }

    /// The type with this name in SDP.
    pub fn from_name(name: &str) -> Option<CandidateKind> {
        [
            CandidateKind::Host,
            CandidateKind::Srflx,
            CandidateKind::Prflx,
            CandidateKind::Relay,
        ]
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
            ("candidates gathered", gathered),
            ("ICE", ice),
            ("DTLS", connected),
            ("data channel", channel),
            ("first message", first_message),
        ]
    }
}
