//! A WebRTC peer: str0m for ICE, DTLS and SCTP, our sockets and allocations below it, the rendezvous beside it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use str0m::channel::ChannelId;
use str0m::media::Mid;
use str0m::net::{Protocol, Receive, Transmit};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc, RtcConfig, RtcError};
use tokio::sync::mpsc;

use crate::client::transport::tls;
use crate::peer::call::candidates::Ledger;
use crate::peer::call::exchange::{Exchange, Heard};
use crate::peer::call::gather::Packet;
use crate::peer::call::gather::{Found, Host, IceServer, gather, keep_allowed};
use crate::peer::call::media::Tracks;
use crate::peer::call::negotiation::{LABEL, Negotiation, channel_config};
use crate::peer::call::relays::{Ready, Relays};
use crate::peer::rendezvous::Signal;
use crate::peer::verdict::{Expected, Failure, Kind, Move, Path, Steps, Types, Verdict};
use crate::turn::Transport;

/// What a call is to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The signaling endpoint: `ws://…/signal` or `wss://…/signal`.
    pub signal: String,
    /// The room.
    pub room: String,
    /// The room's access token.
    pub token: Option<String>,
    /// Which candidates may be used.
    pub policy: Policy,
    /// Which way the call should go.
    pub expected: Expected,
    /// The transports to TURN servers that may be used; all when empty.
    pub transports: Vec<Transport>,
    /// Whether audio and video are sent.
    pub media: bool,
    /// How long messages are exchanged.
    pub duration: Duration,
    /// How long connecting may take, once both peers are in the room.
    pub patience: Duration,
    /// How long the other peer is waited for.
    pub wait: Duration,
    /// A PEM file of further authorities to trust.
    pub ca: Option<PathBuf>,
}

/// Which candidates may be used: `iceTransportPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Every kind.
    #[default]
    All,
    /// Relayed ones only.
    Relay,
}

/// Makes one call and judges it. `progress` is told what happens now, in a few words.
pub async fn call(settings: &Settings, mut progress: impl FnMut(&str)) -> Verdict {
    progress("entering the room");
    let began = Instant::now();
    let mut agent = Agent::new(settings, began);
    let failure = agent.run(&mut progress).await.err();
    progress("releasing what was allocated");
    agent.end(failure).await
}

struct Agent<'a> {
    settings: &'a Settings,
    rtc: Rtc,
    negotiation: Negotiation,
    hosts: Vec<Host>,
    relays: Relays,
    ledger: Ledger,
    exchange: Exchange,
    tracks: Tracks,
    /// Why nothing can be relayed, where that is known before anything is tried.
    unreached: Option<String>,
    steps: Steps,
    moves: Vec<Move>,
    /// When this program started, and when both peers were in the room.
    began: Instant,
    together: Option<Instant>,
    ours: Vec<Mid>,
    channel: Option<ChannelId>,
    open_since: Option<Instant>,
    selected: Option<(SocketAddr, SocketAddr)>,
    /// The way that packets last came in.
    way: Option<Path>,
    disconnected: bool,
    restarted: Option<Instant>,
    other_gone: bool,
}

impl<'a> Agent<'a> {
    fn new(settings: &'a Settings, began: Instant) -> Agent<'a> {
        Agent {
            settings,
            rtc: build_rtc(began),
            negotiation: Negotiation::default(),
            hosts: Vec::new(),
            relays: Relays::default(),
            ledger: Ledger::default(),
            exchange: Exchange::default(),
            tracks: Tracks::new(began),
            unreached: None,
            steps: Steps::default(),
            moves: Vec::new(),
            began,
            together: None,
            ours: Vec::new(),
            channel: None,
            open_since: None,
            selected: None,
            way: None,
            disconnected: false,
            restarted: None,
            other_gone: false,
        }
    }

    /// The whole call, until its duration is over, the other has gone, or it cannot be.
    async fn run(&mut self, progress: &mut impl FnMut(&str)) -> Result<(), Failure> {
        let Settings {
            signal,
            room,
            token,
            ca,
            ..
        } = self.settings;
        let mut servers = self
            .negotiation
            .enter(signal, room, token.as_deref(), ca.as_deref())
            .await?;
        self.steps.welcome = Some(0);
        self.together = self.negotiation.has_met().then(Instant::now);
        let relay_only = self.settings.policy == Policy::Relay;
        self.unreached = keep_allowed(&mut servers, relay_only, &self.settings.transports);
        if let Some(why) = self.unreached.take_if(|_| relay_only) {
            return Err(Failure::new("servers", why));
        }
        let (packets, mut incoming) = mpsc::channel(1_024);
        self.hosts = self.open_hosts(&servers, &packets).await?;
        let tls = tls::verifying(ca.as_deref())
            .map_err(|error| Failure::new("network", error.to_string()))?;
        self.relays.expect(&servers);
        let mut found = gather(&self.hosts, servers, tls, packets);
        let mut tick = tokio::time::interval(BETWEEN_PINGS);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let interrupted = tokio::signal::ctrl_c();
        tokio::pin!(interrupted);
        loop {
            let timeout = self.drain()?;
            progress(&self.doing());
            if let Some(ending) = self.ending() {
                return ending;
            }
            let due = self.next_due(timeout);
            tokio::select! {
                Some(packet) = incoming.recv() => self.packet(packet)?,
                Some(what) = found.recv() => self.found(what),
                signal = self.negotiation.next() => self.signal(signal)?,
                _ = tick.tick() => self.ping(),
                () = tokio::time::sleep_until(due.into()) => self.due()?,
                _ = &mut interrupted => return self.stopped(),
            }
        }
    }

    /// Opens our sockets, on the addresses from which the servers and the Internet are reached.
    async fn open_hosts(
        &mut self,
        servers: &[IceServer],
        packets: &mpsc::Sender<Packet>,
    ) -> Result<Vec<Host>, Failure> {
        let mut toward = Vec::new();
        for server in servers {
            toward.extend(server.url.resolve().await.unwrap_or_default());
        }
        let hosts = Host::open_all(&toward, packets)
            .await
            .map_err(|error| Failure::new("network", error.to_string()))?;
        if self.settings.policy == Policy::Relay {
            return Ok(hosts);
        }
        for host in &hosts {
            if let Ok(candidate) = Candidate::host(host.address, "udp") {
                self.ledger
                    .local(Kind::Host, host.address, host.address, None, self.now_ms());
                self.add_local(candidate);
            }
        }
        Ok(hosts)
    }

    /// Lets str0m do everything it can do now; when it wants to be called again. Whatever changed, it acts only once it is told the time.
    fn drain(&mut self) -> Result<Instant, Failure> {
        let wrong = |error: RtcError| Failure::new("ice", error.to_string());
        self.rtc
            .handle_input(Input::Timeout(Instant::now()))
            .map_err(wrong)?;
        loop {
            match self.rtc.poll_output().map_err(wrong)? {
                Output::Timeout(at) => return Ok(at),
                Output::Transmit(transmit) => self.transmit(&transmit),
                Output::Event(event) => self.event(event),
            }
        }
    }

    fn transmit(&mut self, transmit: &Transmit) {
        let Transmit {
            source,
            destination,
            contents,
            ..
        } = transmit;
        self.ledger.sent(*source, *destination, contents);
        if self.relays.send(*source, *destination, contents) {
            return;
        }
        if let Some(host) = self.hosts.iter().find(|host| host.address == *source) {
            host.send(*destination, contents);
        }
    }

    fn packet(&mut self, packet: Packet) -> Result<(), Failure> {
        let Packet {
            source,
            destination,
            octets,
        } = packet;
        self.ledger.received(destination, source, &octets);
        let now = Instant::now();
        if octets.first().is_some_and(|first| *first > 3) {
            self.came_by(self.ledger.path(destination, source), now);
        }
        let Ok(receive) = Receive::new(Protocol::Udp, source, destination, &octets) else {
            return Ok(());
        };
        let input = Input::Receive(now, receive);
        if self.rtc.accepts(&input) {
            self.rtc
                .handle_input(input)
                .map_err(|error| Failure::new("ice", error.to_string()))?;
        }
        Ok(())
    }

    /// Notes the way that DTLS or media came in, and when it changed in mid-call.
    fn came_by(&mut self, path: Path, now: Instant) {
        let before = self.way.replace(path);
        if let Some(from) = before.filter(|from| *from != path && self.exchange.has_heard()) {
            let silent_ms = self.exchange.silent(now).as_millis() as u64;
            self.moves.push(Move {
                at: self.since(now),
                from,
                to: path,
                silent_ms,
                restarted: self.restarted.is_some(),
            });
        }
    }

    fn event(&mut self, event: Event) {
        let now = Instant::now();
        let at = self.since(now);
        match event {
            Event::IceConnectionStateChange(state) => {
                if state.is_connected() {
                    self.steps.ice.get_or_insert(at);
                }
                self.disconnected = state == IceConnectionState::Disconnected;
            }
            Event::Connected => {
                self.steps.connected.get_or_insert(at);
                self.start_tracks(now);
            }
            Event::MediaAdded(added) if self.settings.media && added.direction.is_sending() => {
                self.ours.push(added.mid);
                self.start_tracks(now);
            }
            Event::MediaData(data) => self.tracks.received(data.params.spec().codec.is_audio()),
            Event::ChannelOpen(id, label) => self.channel_open(id, &label, now),
            Event::ChannelData(data) => {
                self.steps.first_message.get_or_insert(at);
                if let Heard::Ping(pong) = self.exchange.hear(now, &data.data) {
                    self.write(data.id, &pong);
                }
            }
            Event::PeerStats(stats) => {
                self.selected = stats
                    .selected_candidate_pair
                    .map(|pair| (pair.local.addr, pair.remote.addr))
                    .or(self.selected);
            }
            Event::Closed => self.other_gone = true,
            _ => {}
        }
    }

    /// Media begin once there is a way for them.
    fn start_tracks(&mut self, now: Instant) {
        for mid in self.ours.extract_if(.., |_| self.steps.connected.is_some()) {
            if let Some(kind) = self.rtc.media(mid).map(|media| media.kind()) {
                self.tracks.add(mid, kind, now);
            }
        }
    }

    /// A browser opens a channel of its own; ours goes beside it.
    fn channel_open(&mut self, id: ChannelId, label: &str, now: Instant) {
        self.steps.channel.get_or_insert(self.since(now));
        self.open_since.get_or_insert(now);
        if label == LABEL {
            self.channel = Some(id);
        } else if self.channel.is_none() && !self.negotiation.is_offerer() {
            let mut changes = self.rtc.sdp_api();
            changes.add_channel_with_config(channel_config());
            let _needs_no_offer = changes.apply();
        }
    }

    fn write(&mut self, id: ChannelId, text: &str) {
        if let Some(mut channel) = self.rtc.channel(id)
            && channel.buffered_amount() < MOST_BUFFERED
        {
            let _full = channel.write(false, text.as_bytes());
        }
    }

    /// Sends the next numbered message.
    fn ping(&mut self) {
        let now = Instant::now();
        let Some(id) = self.channel.filter(|_| !self.is_over(now)) else {
            return;
        };
        if self
            .rtc
            .channel(id)
            .is_none_or(|mut channel| channel.buffered_amount() >= MOST_BUFFERED)
        {
            return;
        }
        let text = self.exchange.ping(now, self.view());
        self.write(id, &text);
    }

    fn found(&mut self, what: Found) {
        let at = self.now_ms();
        let candidate = match what {
            Found::Reflexive { url, address, base } => {
                self.ledger.local(Kind::Srflx, address, base, Some(url), at);
                Candidate::server_reflexive(address, base, "udp")
            }
            Found::Relayed { url, relayed } => {
                let ready = self.relays.granted(url, relayed);
                return self.add_relayed(ready);
            }
            Found::Nothing { url, why } => {
                let ready = self.relays.refused(&url);
                self.ledger.nothing(url, why, at);
                return self.add_relayed(ready);
            }
            Found::End => {
                self.steps.gathered = Some(at);
                return self.negotiation.trickle(None);
            }
        };
        if let Ok(candidate) = candidate {
            self.add_local(candidate);
        }
    }

    fn add_relayed(&mut self, ready: Vec<Ready>) {
        for Ready { url, address, base } in ready {
            self.ledger
                .local(Kind::Relay, address, address, Some(url), self.now_ms());
            if let Ok(candidate) = Candidate::relayed(address, base, "udp") {
                self.add_local(candidate);
            }
        }
    }

    fn add_local(&mut self, candidate: Candidate) {
        self.steps.first_candidate.get_or_insert(self.now_ms());
        let text = self
            .rtc
            .add_local_candidate(candidate)
            .map(Candidate::to_sdp_string);
        if let Some(text) = text {
            self.negotiation.trickle(Some(&text));
        }
    }

    fn signal(&mut self, signal: Signal) -> Result<(), Failure> {
        let at = self.now_ms();
        let Agent {
            negotiation,
            rtc,
            ledger,
            ..
        } = self;
        match signal {
            Signal::Joined(id) if !negotiation.has_met() => {
                self.meet(&id);
                self.ours = self.negotiation.offer(&mut self.rtc, self.settings.media);
            }
            Signal::Offer { from, sdp } if negotiation.is_them(&from) => {
                self.meet(&from);
                self.negotiation
                    .accept_offer(&mut self.rtc, &mut self.ledger, at, &sdp)?;
            }
            Signal::Answer { from, sdp } if negotiation.is_them(&from) => {
                negotiation.accept_answer(rtc, ledger, at, &sdp)?
            }
            Signal::Candidate {
                from,
                candidate: Some(text),
            } if negotiation.is_them(&from) => {
                negotiation.remote_candidate(rtc, ledger, at, &text);
            }
            Signal::View { from, types } if negotiation.is_them(&from) => {
                self.exchange.theirs = Some(types)
            }
            Signal::Bye(from) | Signal::Left(from) if negotiation.is_them(&from) => {
                self.other_gone = true
            }
            Signal::Refused { code, message } => tracing::warn!("signaling: {code}: {message}"),
            Signal::Gone(why) if self.open_since.is_none() => {
                return Err(Failure::new("signaling", why));
            }
            _ => {}
        }
        Ok(())
    }

    fn meet(&mut self, id: &str) {
        if !self.negotiation.has_met() {
            self.negotiation.meet(id, false);
        }
        self.together.get_or_insert_with(Instant::now);
    }

    /// When anything but a packet or a signal calls for us next.
    fn next_due(&self, timeout: Instant) -> Instant {
        let Settings {
            duration,
            patience,
            wait,
            ..
        } = self.settings;
        let end = match (self.open_since, self.together) {
            (Some(open), _) if self.is_over(Instant::now()) => open + *duration + GRACE,
            (Some(open), _) => open + *duration,
            (None, Some(together)) => together + *patience,
            (None, None) => self.began + *wait,
        };
        let others = [
            self.negotiation.next_due(),
            self.relays.next_due(),
            self.tracks.next(),
        ];
        others
            .into_iter()
            .flatten()
            .fold(timeout.min(end), Instant::min)
    }

    fn due(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        let at = self.since(now);
        let ours =
            self.negotiation
                .due(&mut self.rtc, &mut self.ledger, at, self.settings.media)?;
        self.ours.extend(ours);
        let ready = self.relays.let_go(now);
        self.add_relayed(ready);
        self.tracks.send(&mut self.rtc, now);
        self.restart_if_dead(now);
        Ok(())
    }

    /// When no pair works any more, the one who offered gathers nothing anew but asks for fresh checks. RFC 8445 §9.
    fn restart_if_dead(&mut self, now: Instant) {
        let silent = self.exchange.silent(now) > DEAD;
        let lately = self
            .restarted
            .is_some_and(|at| now.saturating_duration_since(at) < BETWEEN_RESTARTS);
        let ours_to_do = self.negotiation.is_offerer() && self.open_since.is_some() && !lately;
        if (silent || self.disconnected) && ours_to_do && self.negotiation.restart(&mut self.rtc) {
            self.restarted = Some(now);
        }
    }

    /// Whether the time for messages is over.
    fn is_over(&self, now: Instant) -> bool {
        self.other_gone
            || self
                .open_since
                .is_some_and(|open| now >= open + self.settings.duration)
    }

    /// How the call ends, when it does.
    fn ending(&self) -> Option<Result<(), Failure>> {
        let now = Instant::now();
        if let Some(open) = self.open_since {
            let late = self.other_gone || now >= open + self.settings.duration + GRACE;
            return (self.is_over(now) && (late || self.exchange.is_settled()))
                .then(|| self.stopped());
        }
        if self.other_gone {
            return Some(Err(Failure::new(
                "left",
                "the other peer went before the call stood",
            )));
        }
        match self.together {
            Some(together) if now >= together + self.settings.patience => {
                let seconds = self.settings.patience.as_secs();
                let why = self
                    .unreached
                    .as_ref()
                    .map(|why| format!("; {why}"))
                    .unwrap_or_default();
                Some(Err(Failure::new(
                    "ice",
                    format!("no pair of candidates worked within {seconds} s{why}"),
                )))
            }
            None if now >= self.began + self.settings.wait => Some(Err(Failure::new(
                "nobody",
                format!(
                    "nobody came into the room within {} s",
                    self.settings.wait.as_secs()
                ),
            ))),
            _ => None,
        }
    }

    /// The end of a call that stood, unless it had died.
    fn stopped(&self) -> Result<(), Failure> {
        if self.open_since.is_none() {
            return Err(Failure::new("stopped", "stopped before the call stood"));
        }
        match self.disconnected || self.exchange.silent(Instant::now()) > DEAD {
            true => Err(Failure::new("lost", "the path died and no other was found")),
            false => Ok(()),
        }
    }

    /// Says good-bye, lets go of everything, and judges.
    async fn end(mut self, failure: Option<Failure>) -> Verdict {
        self.negotiation.bye();
        let _closed = self.rtc.close();
        let _drained = self.drain();
        let verdict = self.verdict(failure);
        self.negotiation.leave().await;
        self.relays.release().await;
        verdict
    }

    fn verdict(&self, failure: Option<Failure>) -> Verdict {
        let connected = self.open_since.is_some() && failure.is_none();
        let selected = self.selected.filter(|_| self.open_since.is_some());
        let pair = selected.map(|(local, remote)| self.ledger.pair(local, remote));
        let theirs = self.exchange.theirs;
        let relayed = |types: Types| types.local == Kind::Relay || types.remote == Kind::Relay;
        let path = self.view().map(
            |types| match relayed(types) || theirs.is_some_and(relayed) {
                true => Path::Relay,
                false => Path::Direct,
            },
        );
        Verdict {
            version: 1,
            connected,
            path: path.filter(|_| connected),
            expected: self.settings.expected,
            as_expected: connected && path.is_some_and(|path| self.settings.expected.admits(path)),
            failure,
            pair,
            theirs,
            candidates: self
                .ledger
                .candidates(selected, |local, peer| self.relays.refusal(local, peer)),
            checks: self.ledger.checks(),
            steps: self.steps,
            messages: self.exchange.messages(),
            media: self.settings.media.then_some(self.tracks.counted),
            moves: self.moves.clone(),
        }
    }

    /// The types of the selected pair's ends.
    fn view(&self) -> Option<Types> {
        let (local, remote) = self.selected?;
        let pair = self.ledger.pair(local, remote);
        Some(Types {
            local: pair.local.kind,
            remote: pair.remote.kind,
        })
    }

    /// What happens now, for the progress line.
    fn doing(&self) -> String {
        match (self.open_since, self.together) {
            (Some(_), _) => {
                let messages = self.exchange.messages();
                let way = self.way.map_or("", Path::name);
                format!(
                    "connected {way}: {} messages out, {} answered, {} in",
                    messages.sent, messages.answered, messages.received
                )
            }
            (None, Some(_)) => "connecting".into(),
            (None, None) => format!(
                "waiting for somebody to enter the room {}",
                self.settings.room
            ),
        }
    }

    fn now_ms(&self) -> u64 {
        self.since(Instant::now())
    }

    /// Milliseconds since both were in the room.
    fn since(&self, now: Instant) -> u64 {
        self.together.map_or(0, |together| {
            now.saturating_duration_since(together).as_millis() as u64
        })
    }
}

fn build_rtc(now: Instant) -> Rtc {
    let mut config = RtcConfig::new()
        .set_stats_interval(Some(BETWEEN_LOOKS))
        .clear_codecs()
        .enable_opus(true, false)
        .enable_vp8(true);
    config = config.set_crypto_provider(std::sync::Arc::new(str0m::crypto::from_feature_flags()));
    // A pair is given up after about five seconds without an answer, and its successor is known to work by then.
    config.set_initial_stun_rto(Duration::from_millis(250));
    config.set_max_stun_rto(Duration::from_secs(1));
    config.set_max_stun_retransmits(6);
    config.build(now)
}

const BETWEEN_PINGS: Duration = Duration::from_millis(50);
/// How often the selected pair is looked at.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
/// Octets that may wait in a data channel before further messages are not sent.
const MOST_BUFFERED: usize = 4_096;
/// Silence after which a path counts as dead.
const DEAD: Duration = Duration::from_secs(6);
const BETWEEN_RESTARTS: Duration = Duration::from_secs(10);
/// How long after the call's end the last answers are waited for.
const GRACE: Duration = Duration::from_millis(500);
