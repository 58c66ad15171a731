//! Offers, answers and trickled candidates between this peer and the other.
//!
//! The peer that was in the room first makes the offer. If none comes, the newcomer makes one after
//! a second, because browsers may have the opposite custom. If both offer at once (glare), this
//! peer waits briefly for an answer to its own offer; then it gives way and answers the other.

use std::path::Path;
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::channel::{ChannelConfig, Reliability};
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::Protocol;
use str0m::{Candidate, Rtc};

use crate::peer::call::candidates::CandidateTable;
use crate::peer::rendezvous::{IceServer, Rendezvous, Signal};
use crate::peer::verdict::{Failure, FailureCode};

/// The negotiation with one other peer.
#[derive(Default)]
pub struct Negotiation {
    rendezvous: Option<Rendezvous>,
    /// The id of the other peer.
    remote: Option<String>,
    /// When to make an offer if the other peer has made none.
    offer_at: Option<Instant>,
    /// The current offer is ours. The offerer also restarts ICE.
    is_offerer: bool,
    /// Our offer without an answer.
    pending: Option<SdpPendingOffer>,
    /// The offer of the other peer that crossed ours, and when to answer it.
    glare: Option<(String, Instant)>,
    /// The description of the other peer is known, so that its candidates may be added.
    is_remote_described: bool,
    /// Candidates of the other peer that arrived before its description.
    early_candidates: Vec<Candidate>,
    /// The media section to which our candidates belong, once our description is sent.
    mid: Option<String>,
    is_gathered: bool,
}

impl Negotiation {
    /// Enters a room of the signaling endpoint, and returns the servers that the endpoint offers. A
    /// peer that is in the room already becomes the other peer.
    ///
    /// # Errors
    /// [`FailureCode::Signaling`].
    pub async fn enter(
        &mut self,
        endpoint: &str,
        room: &str,
        token: Option<&str>,
        ca_file: Option<&Path>,
    ) -> Result<Vec<IceServer>, Failure> {
        let failure =
            |reason: String| Failure::new(FailureCode::Signaling, format!("{endpoint}: {reason}"));
        let rendezvous = Rendezvous::enter(endpoint, room, token, ca_file)
            .await
            .map_err(|error| failure(error.to_string()))?;
        self.rendezvous = Some(rendezvous);
        match tokio::time::timeout(WELCOME_TIMEOUT, self.next()).await {
            Ok(Signal::Welcome {
                peers,
                servers,
                invalid,
            }) => {
                for url in invalid {
                    tracing::warn!("skipped an ICE server: {url}");
                }
                if let Some(first) = peers.first() {
                    self.set_remote(first);
                    self.offer_at = Some(Instant::now() + NEWCOMER_OFFER_DELAY);
                }
                Ok(servers)
            }
            Ok(Signal::Refused { code, message }) => Err(failure(format!("{code}: {message}"))),
            Ok(Signal::Disconnected(reason)) => Err(failure(reason)),
            Ok(_) => Err(failure("unexpected message before the welcome".into())),
            Err(_) => {
                let seconds = WELCOME_TIMEOUT.as_secs();
                Err(failure(format!("no welcome within {seconds} s")))
            }
        }
    }

    /// Waits for the next signal; forever once the endpoint has disconnected, because an
    /// established call does not need it.
    pub async fn next(&mut self) -> Signal {
        if let Some(rendezvous) = &mut self.rendezvous
            && let Some(signal) = rendezvous.next().await
        {
            return signal;
        }
        self.rendezvous = None;
        std::future::pending().await
    }

    /// Returns true if `id` is the other peer, or the other peer is not known yet.
    pub fn may_be_remote(&self, id: &str) -> bool {
        self.remote.as_deref().is_none_or(|remote| remote == id)
    }

    /// Returns true if the other peer is known.
    pub fn has_remote(&self) -> bool {
        self.remote.is_some()
    }

    /// Sets the other peer.
    pub fn set_remote(&mut self, id: &str) {
        self.remote = Some(id.into());
        self.offer_at = None;
    }

    /// Returns true if the current offer is ours.
    pub fn is_offerer(&self) -> bool {
        self.is_offerer
    }

    /// When [`Negotiation::handle_timeout`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        let glare = self.glare.as_ref().map(|(_, deadline)| *deadline);
        glare.into_iter().chain(self.offer_at).min()
    }

    /// Makes the newcomer's offer, or answers the offer that crossed ours, if it is time. Returns
    /// the media sections of our own offer.
    ///
    /// # Errors
    /// As [`Negotiation::accept_offer`].
    pub fn handle_timeout(
        &mut self,
        rtc: &mut Rtc,
        candidates: &mut CandidateTable,
        at: u64,
        with_media: bool,
    ) -> Result<Vec<Mid>, Failure> {
        let now = Instant::now();
        if let Some((sdp, _)) = self.glare.take_if(|(_, deadline)| *deadline <= now) {
            // Our offer was not answered: the other peer waits for us to give way.
            self.pending = None;
            self.is_offerer = false;
            self.accept_offer(rtc, candidates, at, &sdp)?;
        }
        match self.offer_at.is_some_and(|offer_at| offer_at <= now) {
            true => Ok(self.offer(rtc, with_media)),
            false => Ok(Vec::new()),
        }
    }

    /// Makes the first offer: a data channel, and audio and video if wanted. Returns their media
    /// sections.
    pub fn offer(&mut self, rtc: &mut Rtc, with_media: bool) -> Vec<Mid> {
        self.offer_at = None;
        if self.is_remote_described || self.pending.is_some() {
            return Vec::new();
        }
        self.is_offerer = true;
        let mut changes = rtc.sdp_api();
        changes.add_channel_with_config(channel_config());
        let kinds: &[MediaKind] = match with_media {
            true => &[MediaKind::Audio, MediaKind::Video],
            false => &[],
        };
        let mids = kinds
            .iter()
            .map(|kind| changes.add_media(*kind, Direction::SendRecv, None, None, None))
            .collect();
        let offer = changes.apply();
        self.send_offer(offer);
        mids
    }

    /// Restarts ICE with the existing candidates. RFC 8445 §9. Returns false while an offer is
    /// pending.
    pub fn restart_ice(&mut self, rtc: &mut Rtc) -> bool {
        if self.pending.is_some() {
            return false;
        }
        let mut changes = rtc.sdp_api();
        changes.ice_restart(true);
        let offer = changes.apply();
        self.send_offer(offer);
        true
    }

    /// Answers an offer. If our own offer is unanswered, the other peer's offer waits, because its
    /// answer may be on the way.
    ///
    /// # Errors
    /// [`FailureCode::Sdp`].
    pub fn accept_offer(
        &mut self,
        rtc: &mut Rtc,
        candidates: &mut CandidateTable,
        at: u64,
        sdp: &str,
    ) -> Result<(), Failure> {
        if self.pending.is_some() {
            self.glare = Some((sdp.into(), Instant::now() + GLARE_DELAY));
            return Ok(());
        }
        self.offer_at = None;
        let offer =
            SdpOffer::from_sdp_string(sdp).map_err(|error| unusable("their offer", error))?;
        let answer = rtc
            .sdp_api()
            .accept_offer(offer)
            .map_err(|error| unusable("their offer", error))?
            .to_sdp_string();
        if let (Some(rendezvous), Some(remote)) = (&self.rendezvous, &self.remote) {
            rendezvous.answer(remote, &answer);
        }
        self.set_remote_description(rtc, candidates, at, sdp);
        self.set_local_description(&answer);
        Ok(())
    }

    /// Accepts the answer to our offer.
    ///
    /// # Errors
    /// [`FailureCode::Sdp`].
    pub fn accept_answer(
        &mut self,
        rtc: &mut Rtc,
        candidates: &mut CandidateTable,
        at: u64,
        sdp: &str,
    ) -> Result<(), Failure> {
        let Some(pending) = self.pending.take() else {
            return Ok(());
        };
        self.glare = None;
        let answer =
            SdpAnswer::from_sdp_string(sdp).map_err(|error| unusable("their answer", error))?;
        rtc.sdp_api()
            .accept_answer(pending, answer)
            .map_err(|error| unusable("their answer", error))?;
        self.set_remote_description(rtc, candidates, at, sdp);
        Ok(())
    }

    /// Adds a candidate of the other peer. An unusable candidate is recorded with the reason.
    pub fn add_remote_candidate(
        &mut self,
        rtc: &mut Rtc,
        candidates: &mut CandidateTable,
        at: u64,
        text: &str,
    ) {
        let text = text.strip_prefix("a=").unwrap_or(text);
        let unusable = match Candidate::from_sdp_string(text) {
            Ok(candidate) if candidate.proto() == Protocol::Udp => {
                candidates.add_remote(text, at, None);
                if self.is_remote_described {
                    rtc.add_remote_candidate(candidate);
                } else {
                    self.early_candidates.push(candidate);
                }
                return;
            }
            Ok(_) => "ICE over TCP is not supported".to_owned(),
            Err(_) if text.contains(".local ") => "hidden behind a multicast DNS name".to_owned(),
            Err(error) => error.to_string(),
        };
        candidates.add_remote(text, at, Some(unusable));
    }

    /// Sends a candidate of ours, unless our description is still to be sent and will contain it.
    /// `None` is the end of candidates.
    pub fn trickle(&mut self, candidate: Option<&str>) {
        self.is_gathered |= candidate.is_none();
        if let (Some(rendezvous), Some(remote), Some(mid)) =
            (&self.rendezvous, &self.remote, &self.mid)
        {
            rendezvous.candidate(remote, candidate.map(|candidate| (candidate, mid.as_str())));
        }
    }

    /// Notifies the other peer that we hang up.
    pub fn hang_up(&self) {
        if let (Some(rendezvous), Some(remote)) = (&self.rendezvous, &self.remote) {
            rendezvous.hang_up(remote);
        }
    }

    /// Leaves the room.
    pub async fn leave(&mut self) {
        if let Some(rendezvous) = self.rendezvous.take() {
            rendezvous.leave().await;
        }
    }

    fn send_offer(&mut self, offer: Option<(SdpOffer, SdpPendingOffer)>) {
        let (Some((offer, pending)), Some(rendezvous), Some(remote)) =
            (offer, &self.rendezvous, &self.remote)
        else {
            return;
        };
        let sdp = offer.to_sdp_string();
        rendezvous.offer(remote, &sdp);
        self.pending = Some(pending);
        self.set_local_description(&sdp);
    }

    /// After our description is sent: candidates belong to its first media section, and later ones
    /// are trickled.
    fn set_local_description(&mut self, sdp: &str) {
        self.mid = sdp
            .lines()
            .find_map(|line| line.strip_prefix("a=mid:"))
            .map(|mid| mid.trim().to_owned());
        if self.is_gathered {
            self.trickle(None);
        }
    }

    /// Called after the other peer's description was applied: records the candidates in it, and
    /// adds the candidates that arrived before it.
    fn set_remote_description(
        &mut self,
        rtc: &mut Rtc,
        candidates: &mut CandidateTable,
        at: u64,
        sdp: &str,
    ) {
        self.is_remote_described = true;
        for line in sdp
            .lines()
            .filter_map(|line| line.trim().strip_prefix("a=candidate:"))
        {
            candidates.add_remote(&format!("candidate:{line}"), at, None);
        }
        for candidate in std::mem::take(&mut self.early_candidates) {
            rtc.add_remote_candidate(candidate);
        }
    }
}

fn unusable(what: &str, error: impl std::fmt::Display) -> Failure {
    Failure::new(FailureCode::Sdp, format!("{what}: {error}"))
}

/// The configuration of our data channel: messages are not retransmitted, so that loss is visible.
pub fn channel_config() -> ChannelConfig {
    ChannelConfig {
        label: LABEL.into(),
        ordered: false,
        reliability: Reliability::MaxRetransmits { retransmits: 0 },
        ..ChannelConfig::default()
    }
}

/// The label of our data channel.
pub const LABEL: &str = "hairpin";
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the newcomer waits for an offer before it makes one.
const NEWCOMER_OFFER_DELAY: Duration = Duration::from_secs(1);
/// How long, if two offers crossed, a peer waits for the answer to its own before it gives way.
const GLARE_DELAY: Duration = Duration::from_millis(700);
