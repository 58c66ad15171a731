//! A WebRTC peer: str0m for ICE, DTLS and SCTP, our sockets and allocations below it, the
//! rendezvous beside it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use str0m::channel::ChannelId;
use str0m::media::Mid;
use str0m::net::{Protocol, Receive, Transmit};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc, RtcConfig, RtcError};
use tokio::sync::mpsc;

use crate::client::transport::tls;
use crate::peer::call::allocations::{Allocations, RelayedCandidate};
use crate::peer::call::candidates::CandidateTable;
use crate::peer::call::gather::{GatherEvent, NoRelay, gather, retain_allowed};
use crate::peer::call::host::{Host, IncomingPacket};
use crate::peer::call::media::Tracks;
use crate::peer::call::messages::{IncomingMessage, MessageExchange};
use crate::peer::call::negotiation::{LABEL, Negotiation, channel_config};
use crate::peer::rendezvous::{IceServer, Signal};
use crate::peer::verdict::{
    CallPath, CandidateKind, ExpectedPath, Failure, FailureCode, PairTypes, PathChange, Steps,
    Verdict,
};
use crate::turn::Transport;

/// What kind of call to make.
#[derive(Clone, Debug)]
pub struct CallSettings {
    /// The signaling endpoint: `ws://…/signal` or `wss://…/signal`.
    pub signal: String,
    /// The room.
    pub room: String,
    /// The access token, if the endpoint requires one.
    pub token: Option<String>,
    /// The candidates that may be used.
    pub policy: CandidatePolicy,
    /// The expected path.
    pub expected: ExpectedPath,
    /// The transports over which TURN servers may be reached. Empty allows all.
    pub transports: Vec<Transport>,
    /// Send audio and video.
    pub media: bool,
    /// How long messages are exchanged.
    pub duration: Duration,
    /// Time limit of connecting, once both peers are in the room.
    pub connect_timeout: Duration,
    /// How long to wait for the other peer.
    pub join_timeout: Duration,
    /// A PEM file of additional authorities to trust.
    pub ca_file: Option<PathBuf>,
}

/// The candidates that may be used: `iceTransportPolicy` of browsers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CandidatePolicy {
    /// All kinds.
    #[default]
    All,
    /// Relayed candidates only.
    Relay,
}

/// Makes one call and returns the verdict. Calls `on_progress` with a description of the current
/// step.
pub async fn call(settings: &CallSettings, mut on_progress: impl FnMut(&str)) -> Verdict {
    on_progress("entering the room");
    let mut agent = Agent::new(settings, Instant::now());
    let failure = agent.run(&mut on_progress).await.err();
    on_progress("releasing allocations");
    agent.finish(failure).await
}

struct Agent<'a> {
    settings: &'a CallSettings,
    rtc: Rtc,
    negotiation: Negotiation,
    hosts: Vec<Host>,
    allocations: Allocations,
    candidates: CandidateTable,
    messages: MessageExchange,
    tracks: Tracks,
    /// Why no relayed candidate is possible, if that is known before gathering.
    no_relay: Option<NoRelay>,
    steps: Steps,
    path_changes: Vec<PathChange>,
    started: Instant,
    /// When both peers were in the room.
    met_at: Option<Instant>,
    /// Media sections on which to send once connected.
    pending_media: Vec<Mid>,
    channel: Option<ChannelId>,
    channel_opened_at: Option<Instant>,
    /// The local and the remote address of the selected pair.
    selected: Option<(SocketAddr, SocketAddr)>,
    /// The path by which the last packet arrived.
    path: Option<CallPath>,
    is_disconnected: bool,
    restarted_at: Option<Instant>,
    has_remote_left: bool,
}

impl<'a> Agent<'a> {
    fn new(settings: &'a CallSettings, started: Instant) -> Agent<'a> {
        Agent {
            settings,
            rtc: build_rtc(started),
            negotiation: Negotiation::default(),
            hosts: Vec::new(),
            allocations: Allocations::default(),
            candidates: CandidateTable::default(),
            messages: MessageExchange::default(),
            tracks: Tracks::new(started),
            no_relay: None,
            steps: Steps::default(),
            path_changes: Vec::new(),
            started,
            met_at: None,
            pending_media: Vec::new(),
            channel: None,
            channel_opened_at: None,
            selected: None,
            path: None,
            is_disconnected: false,
            restarted_at: None,
            has_remote_left: false,
        }
    }

    /// The whole call, until its duration is over, the other peer leaves, or it fails.
    async fn run(&mut self, on_progress: &mut impl FnMut(&str)) -> Result<(), Failure> {
        let settings = self.settings;
        let ca_file = settings.ca_file.as_deref();
        let mut servers = self
            .negotiation
            .enter(
                &settings.signal,
                &settings.room,
                settings.token.as_deref(),
                ca_file,
            )
            .await?;
        self.steps.welcome = Some(0);
        self.met_at = self.negotiation.has_remote().then(Instant::now);
        let relay_only = settings.policy == CandidatePolicy::Relay;
        match retain_allowed(&mut servers, relay_only, &settings.transports) {
            Err(error) if relay_only => {
                return Err(Failure::new(FailureCode::Servers, error.to_string()));
            }
            allowed => self.no_relay = allowed.err(),
        }
        let (packet_sender, mut packets) = mpsc::channel(PACKET_QUEUE);
        self.hosts = self.open_hosts(&servers, &packet_sender).await?;
        let tls = tls::verifying(ca_file).map_err(network_failure)?;
        self.allocations.expect(&servers);
        let mut gathered = gather(&self.hosts, servers, tls, packet_sender);
        let mut ping = tokio::time::interval(PING_INTERVAL);
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let interrupt = tokio::signal::ctrl_c();
        tokio::pin!(interrupt);
        loop {
            let rtc_deadline = self.drive_rtc()?;
            on_progress(&self.status());
            if let Some(outcome) = self.outcome_if_over() {
                return outcome;
            }
            let deadline = self.next_deadline(rtc_deadline);
            tokio::select! {
                Some(packet) = packets.recv() => self.handle_packet(packet)?,
                Some(event) = gathered.recv() => self.handle_gather_event(event),
                signal = self.negotiation.next() => self.handle_signal(signal)?,
                _ = ping.tick() => self.send_ping(),
                () = tokio::time::sleep_until(deadline.into()) => self.handle_timeout()?,
                _ = &mut interrupt => return self.outcome(),
            }
        }
    }

    /// Opens sockets on the addresses from which the servers and the Internet are reached.
    async fn open_hosts(
        &mut self,
        servers: &[IceServer],
        packets: &mpsc::Sender<IncomingPacket>,
    ) -> Result<Vec<Host>, Failure> {
        let mut targets = Vec::new();
        for server in servers {
            // A name without an address is reported when the server is asked.
            targets.extend(server.uri.resolve().await.unwrap_or_default());
        }
        let hosts = Host::open_all(&targets, packets)
            .await
            .map_err(network_failure)?;
        if self.settings.policy == CandidatePolicy::Relay {
            return Ok(hosts);
        }
        for host in &hosts {
            if let Ok(candidate) = Candidate::host(host.address, "udp") {
                let (kind, now) = (CandidateKind::Host, self.now_ms());
                self.candidates
                    .add_local(kind, host.address, host.address, None, now);
                self.add_local_candidate(candidate);
            }
        }
        Ok(hosts)
    }

    /// Lets str0m do everything it can do now, and returns its next deadline. str0m acts on changes
    /// only when it is given the time.
    fn drive_rtc(&mut self) -> Result<Instant, Failure> {
        self.rtc
            .handle_input(Input::Timeout(Instant::now()))
            .map_err(ice_failure)?;
        loop {
            match self.rtc.poll_output().map_err(ice_failure)? {
                Output::Timeout(deadline) => return Ok(deadline),
                Output::Transmit(transmit) => self.transmit(&transmit),
                Output::Event(event) => self.handle_event(event),
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
        self.candidates.record_sent(*source, *destination, contents);
        if self.allocations.send(*source, *destination, contents) {
            return;
        }
        if let Some(host) = self.hosts.iter().find(|host| host.address == *source) {
            host.send(*destination, contents);
        }
    }

    fn handle_packet(&mut self, packet: IncomingPacket) -> Result<(), Failure> {
        let IncomingPacket {
            source,
            destination,
            payload,
        } = packet;
        self.candidates
            .record_received(destination, source, &payload);
        let now = Instant::now();
        // RFC 7983: a first octet of 0 to 3 is STUN, which is also sent on pairs that are not
        // selected.
        if payload.first().is_some_and(|first| *first > 3) {
            self.record_path(self.candidates.path(destination, source), now);
        }
        let Ok(receive) = Receive::new(Protocol::Udp, source, destination, &payload) else {
            return Ok(());
        };
        let input = Input::Receive(now, receive);
        match self.rtc.accepts(&input) {
            true => self.rtc.handle_input(input).map_err(ice_failure),
            false => Ok(()),
        }
    }

    /// Records the path by which DTLS or media arrived, and its change during the call.
    fn record_path(&mut self, path: CallPath, now: Instant) {
        let previous = self.path.replace(path);
        if let Some(from) = previous.filter(|from| *from != path && self.messages.has_received()) {
            self.path_changes.push(PathChange {
                at: self.ms_since_meeting(now),
                from,
                to: path,
                silent_ms: self.messages.silence(now).as_millis() as u64,
                restarted: self.restarted_at.is_some(),
            });
        }
    }

    fn handle_event(&mut self, event: Event) {
        let now = Instant::now();
        let at = self.ms_since_meeting(now);
        match event {
            Event::IceConnectionStateChange(state) => {
                if state.is_connected() {
                    self.steps.ice.get_or_insert(at);
                }
                self.is_disconnected = state == IceConnectionState::Disconnected;
            }
            Event::Connected => {
                self.steps.connected.get_or_insert(at);
                self.start_tracks(now);
            }
            Event::MediaAdded(added) if self.settings.media && added.direction.is_sending() => {
                self.pending_media.push(added.mid);
                self.start_tracks(now);
            }
            Event::MediaData(data) => {
                let is_audio = data.params.spec().codec.is_audio();
                self.tracks.record_received(is_audio);
            }
            Event::ChannelOpen(id, label) => self.handle_channel_open(id, &label, now),
            Event::ChannelData(data) => {
                self.steps.first_message.get_or_insert(at);
                if let IncomingMessage::Ping(pong) = self.messages.receive(now, &data.data) {
                    self.write(data.id, &pong);
                }
            }
            Event::PeerStats(stats) => {
                self.selected = stats
                    .selected_candidate_pair
                    .map(|pair| (pair.local.addr, pair.remote.addr))
                    .or(self.selected);
            }
            Event::Closed => self.has_remote_left = true,
            _ => {}
        }
    }

    /// Starts the tracks that wait for the connection.
    fn start_tracks(&mut self, now: Instant) {
        if self.steps.connected.is_none() {
            return;
        }
        for mid in self.pending_media.drain(..) {
            if let Some(kind) = self.rtc.media(mid).map(|media| media.kind()) {
                self.tracks.add(mid, kind, now);
            }
        }
    }

    fn handle_channel_open(&mut self, id: ChannelId, label: &str, now: Instant) {
        let at = self.ms_since_meeting(now);
        self.steps.channel.get_or_insert(at);
        self.channel_opened_at.get_or_insert(now);
        if label == LABEL {
            self.channel = Some(id);
        } else if self.channel.is_none() && !self.negotiation.is_offerer() {
            // A browser offered its own channel; ours is opened beside it.
            let mut changes = self.rtc.sdp_api();
            changes.add_channel_with_config(channel_config());
            let _needs_no_offer = changes.apply();
        }
    }

    fn write(&mut self, id: ChannelId, text: &str) {
        if let Some(mut channel) = self.rtc.channel(id)
            && channel.buffered_amount() < MAX_BUFFERED
        {
            let _full = channel.write(false, text.as_bytes());
        }
    }

    /// Sends the next numbered message, unless the channel is congested.
    fn send_ping(&mut self) {
        let now = Instant::now();
        let Some(id) = self.channel.filter(|_| !self.is_exchange_over(now)) else {
            return;
        };
        let is_writable =
            |mut channel: str0m::channel::Channel<'_>| channel.buffered_amount() < MAX_BUFFERED;
        if self.rtc.channel(id).is_some_and(is_writable) {
            let ping = self.messages.next_ping(now, self.selected_types());
            self.write(id, &ping);
        }
    }

    fn handle_gather_event(&mut self, event: GatherEvent) {
        let at = self.now_ms();
        match event {
            GatherEvent::Reflexive { uri, address, base } => {
                let kind = CandidateKind::Srflx;
                self.candidates
                    .add_local(kind, address, base, Some(uri), at);
                if let Ok(candidate) = Candidate::server_reflexive(address, base, "udp") {
                    self.add_local_candidate(candidate);
                }
            }
            GatherEvent::Relayed { uri, allocation } => {
                let ready = self.allocations.add(uri, allocation);
                self.add_relayed_candidates(ready);
            }
            GatherEvent::Failed { uri, error } => {
                let ready = self.allocations.record_failure(&uri);
                self.candidates.add_failed(uri, error.to_string(), at);
                self.add_relayed_candidates(ready);
            }
            GatherEvent::Done => {
                self.steps.gathered = Some(at);
                self.negotiation.trickle(None);
            }
        }
    }

    fn add_relayed_candidates(&mut self, candidates: Vec<RelayedCandidate>) {
        for RelayedCandidate { uri, address, base } in candidates {
            let (kind, now) = (CandidateKind::Relay, self.now_ms());
            self.candidates
                .add_local(kind, address, address, Some(uri), now);
            if let Ok(candidate) = Candidate::relayed(address, base, "udp") {
                self.add_local_candidate(candidate);
            }
        }
    }

    fn add_local_candidate(&mut self, candidate: Candidate) {
        let at = self.now_ms();
        self.steps.first_candidate.get_or_insert(at);
        let text = self
            .rtc
            .add_local_candidate(candidate)
            .map(Candidate::to_sdp_string);
        if let Some(text) = text {
            self.negotiation.trickle(Some(&text));
        }
    }

    fn handle_signal(&mut self, signal: Signal) -> Result<(), Failure> {
        let at = self.now_ms();
        let Agent {
            negotiation,
            rtc,
            candidates,
            ..
        } = self;
        match signal {
            Signal::Joined(id) if !negotiation.has_remote() => {
                self.meet(&id);
                let media = self.negotiation.offer(&mut self.rtc, self.settings.media);
                self.pending_media = media;
            }
            Signal::Offer { from, sdp } if negotiation.may_be_remote(&from) => {
                self.meet(&from);
                self.negotiation
                    .accept_offer(&mut self.rtc, &mut self.candidates, at, &sdp)?;
            }
            Signal::Answer { from, sdp } if negotiation.may_be_remote(&from) => {
                negotiation.accept_answer(rtc, candidates, at, &sdp)?;
            }
            Signal::Candidate {
                from,
                candidate: Some(text),
            } if negotiation.may_be_remote(&from) => {
                negotiation.add_remote_candidate(rtc, candidates, at, &text);
            }
            Signal::View { from, types } if negotiation.may_be_remote(&from) => {
                self.messages.remote_view = Some(types);
            }
            Signal::Bye(from) | Signal::Left(from) if negotiation.may_be_remote(&from) => {
                self.has_remote_left = true;
            }
            Signal::Refused { code, message } => tracing::warn!("signaling: {code}: {message}"),
            Signal::Disconnected(reason) if self.channel_opened_at.is_none() => {
                return Err(Failure::new(FailureCode::Signaling, reason));
            }
            // Signals of a third peer, and the end of candidates.
            _ => {}
        }
        Ok(())
    }

    fn meet(&mut self, id: &str) {
        if !self.negotiation.has_remote() {
            self.negotiation.set_remote(id);
        }
        self.met_at.get_or_insert_with(Instant::now);
    }

    /// The next moment at which something other than a packet or a signal needs attention.
    fn next_deadline(&self, rtc_deadline: Instant) -> Instant {
        let settings = self.settings;
        let end = match (self.channel_opened_at, self.met_at) {
            (Some(opened), _) if self.is_exchange_over(Instant::now()) => {
                opened + settings.duration + GRACE
            }
            (Some(opened), _) => opened + settings.duration,
            (None, Some(met)) => met + settings.connect_timeout,
            (None, None) => self.started + settings.join_timeout,
        };
        let others = [
            self.negotiation.deadline(),
            self.allocations.deadline(),
            self.tracks.deadline(),
        ];
        others
            .into_iter()
            .flatten()
            .fold(rtc_deadline.min(end), Instant::min)
    }

    fn handle_timeout(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        let at = self.ms_since_meeting(now);
        let media = self.negotiation.handle_timeout(
            &mut self.rtc,
            &mut self.candidates,
            at,
            self.settings.media,
        )?;
        self.pending_media.extend(media);
        let ready = self.allocations.take_ready(now);
        self.add_relayed_candidates(ready);
        self.tracks.send_due(&mut self.rtc, now);
        self.restart_ice_if_dead(now);
        Ok(())
    }

    /// Restarts ICE if no pair works any more. Only the offerer does, with the candidates that
    /// exist. RFC 8445 §9.
    fn restart_ice_if_dead(&mut self, now: Instant) {
        let is_dead = self.is_disconnected || self.messages.silence(now) > DEAD_AFTER;
        let was_restarted = self
            .restarted_at
            .is_some_and(|at| now.saturating_duration_since(at) < RESTART_INTERVAL);
        let may_restart =
            self.negotiation.is_offerer() && self.channel_opened_at.is_some() && !was_restarted;
        if is_dead && may_restart && self.negotiation.restart_ice(&mut self.rtc) {
            self.restarted_at = Some(now);
        }
    }

    /// Returns true once no more messages are to be sent.
    fn is_exchange_over(&self, now: Instant) -> bool {
        let is_time_over = |opened| now >= opened + self.settings.duration;
        self.has_remote_left || self.channel_opened_at.is_some_and(is_time_over)
    }

    /// The outcome of the call once it is over.
    fn outcome_if_over(&self) -> Option<Result<(), Failure>> {
        let now = Instant::now();
        let settings = self.settings;
        if let Some(opened) = self.channel_opened_at {
            let is_grace_over = self.has_remote_left || now >= opened + settings.duration + GRACE;
            let is_over =
                self.is_exchange_over(now) && (is_grace_over || self.messages.is_all_answered());
            return is_over.then(|| self.outcome());
        }
        if self.has_remote_left {
            return Some(Err(Failure::new(
                FailureCode::Left,
                "the other peer left before the call connected",
            )));
        }
        match self.met_at {
            Some(met) if now >= met + settings.connect_timeout => {
                let seconds = settings.connect_timeout.as_secs();
                let no_relay = match &self.no_relay {
                    Some(reason) => format!("; {reason}"),
                    None => String::new(),
                };
                Some(Err(Failure::new(
                    FailureCode::Ice,
                    format!("no pair of candidates works within {seconds} s{no_relay}"),
                )))
            }
            None if now >= self.started + settings.join_timeout => {
                let seconds = settings.join_timeout.as_secs();
                Some(Err(Failure::new(
                    FailureCode::Nobody,
                    format!("no other peer entered the room within {seconds} s"),
                )))
            }
            Some(_) | None => None,
        }
    }

    /// The outcome of a call that ends now.
    fn outcome(&self) -> Result<(), Failure> {
        if self.channel_opened_at.is_none() {
            return Err(Failure::new(
                FailureCode::Stopped,
                "interrupted before the call connected",
            ));
        }
        match self.is_disconnected || self.messages.silence(Instant::now()) > DEAD_AFTER {
            true => Err(Failure::new(
                FailureCode::Lost,
                "the path died and no other was found",
            )),
            false => Ok(()),
        }
    }

    /// Hangs up, releases everything, and judges.
    async fn finish(mut self, failure: Option<Failure>) -> Verdict {
        self.negotiation.hang_up();
        let _closed = self.rtc.close();
        let _sent = self.drive_rtc();
        let verdict = self.verdict(failure);
        self.negotiation.leave().await;
        self.allocations.release().await;
        verdict
    }

    fn verdict(&self, failure: Option<Failure>) -> Verdict {
        let connected = self.channel_opened_at.is_some() && failure.is_none();
        let selected = self.selected.filter(|_| self.channel_opened_at.is_some());
        let theirs = self.messages.remote_view;
        let is_relayed = |types: PairTypes| {
            types.local == CandidateKind::Relay || types.remote == CandidateKind::Relay
        };
        let path = self.selected_types().map(|types| {
            match is_relayed(types) || theirs.is_some_and(is_relayed) {
                true => CallPath::Relay,
                false => CallPath::Direct,
            }
        });
        let path = path.filter(|_| connected);
        let expected = self.settings.expected;
        Verdict {
            version: 1,
            connected,
            path,
            expected,
            as_expected: path.is_some_and(|path| expected.accepts(path)),
            failure,
            pair: selected.map(|(local, remote)| self.candidates.pair(local, remote)),
            theirs,
            candidates: self.candidates.candidates(selected, |relayed, peer| {
                self.allocations.refusal(relayed, peer)
            }),
            checks: self.candidates.checks(),
            steps: self.steps,
            messages: self.messages.messages(),
            media: self.settings.media.then(|| self.tracks.counts()),
            path_changes: self.path_changes.clone(),
        }
    }

    /// The types of the selected pair.
    fn selected_types(&self) -> Option<PairTypes> {
        let (local, remote) = self.selected?;
        let pair = self.candidates.pair(local, remote);
        Some(PairTypes {
            local: pair.local.kind,
            remote: pair.remote.kind,
        })
    }

    /// The current step, for the progress line.
    fn status(&self) -> String {
        match (self.channel_opened_at, self.met_at) {
            (Some(_), _) => {
                let messages = self.messages.messages();
                format!(
                    "connected {}: {} messages sent, {} answered, {} received",
                    self.path.map_or("", CallPath::name),
                    messages.sent,
                    messages.answered,
                    messages.received
                )
            }
            (None, Some(_)) => "connecting".into(),
            (None, None) => format!(
                "waiting for another peer in the room {}",
                self.settings.room
            ),
        }
    }

    fn now_ms(&self) -> u64 {
        self.ms_since_meeting(Instant::now())
    }

    /// Milliseconds since both peers were in the room; zero before.
    fn ms_since_meeting(&self, now: Instant) -> u64 {
        self.met_at.map_or(0, |met| {
            now.saturating_duration_since(met).as_millis() as u64
        })
    }
}

fn network_failure(error: std::io::Error) -> Failure {
    Failure::new(FailureCode::Network, error.to_string())
}

fn ice_failure(error: RtcError) -> Failure {
    Failure::new(FailureCode::Ice, error.to_string())
}

fn build_rtc(now: Instant) -> Rtc {
    let mut config = RtcConfig::new()
        .set_stats_interval(Some(STATS_INTERVAL))
        .clear_codecs()
        .enable_opus(true, false)
        .enable_vp8(true);
    config = config.set_crypto_provider(std::sync::Arc::new(str0m::crypto::from_feature_flags()));
    // A pair fails after about five seconds without a response. By then its successor is known to
    // work.
    config.set_initial_stun_rto(Duration::from_millis(250));
    config.set_max_stun_rto(Duration::from_secs(1));
    config.set_max_stun_retransmits(6);
    config.build(now)
}

const PING_INTERVAL: Duration = Duration::from_millis(50);
/// How often the selected pair is read.
const STATS_INTERVAL: Duration = Duration::from_millis(200);
/// Octets buffered in a data channel from which on messages are skipped.
const MAX_BUFFERED: usize = 4_096;
/// Packets received and not yet handled.
const PACKET_QUEUE: usize = 1_024;
/// Time without a message after which a path counts as dead.
const DEAD_AFTER: Duration = Duration::from_secs(6);
const RESTART_INTERVAL: Duration = Duration::from_secs(10);
/// How long the last pongs are waited for at the end of the call.
const GRACE: Duration = Duration::from_millis(500);
