//! Offers, answers and trickled candidates between us and the other peer: who offers, what happens when offers cross, and what must wait for what.

use std::path::Path;
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::channel::{ChannelConfig, Reliability};
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::Protocol;
use str0m::{Candidate, Rtc};

use crate::peer::call::candidates::Ledger;
use crate::peer::call::gather::IceServer;
use crate::peer::rendezvous::{Rendezvous, Signal};
use crate::peer::verdict::Failure;

/// The negotiation with one other peer.
#[derive(Default)]
pub struct Negotiation {
    rendezvous: Option<Rendezvous>,
    them: Option<String>,
    /// When the newcomer offers if the other has not.
    offer_at: Option<Instant>,
    /// Whether the standing offer was ours: then it is we who restart ICE, too.
    offered: bool,
    pending: Option<SdpPendingOffer>,
    /// Their offer that crossed ours, and until when an answer to ours may still come.
    crossed: Option<(String, Instant)>,
    /// Whether their description is known, so that their candidates may be added.
    described: bool,
    held: Vec<Candidate>,
    /// The medium that our candidates belong to, once we have described ourselves.
    mid: Option<String>,
    gathered: bool,
}

impl Negotiation {
    /// Enters the room at a signaling endpoint. Who is there already is the other peer; the servers that the endpoint hands out.
    ///
    /// # Errors
    /// `signaling`: the endpoint cannot be reached, refuses, or does not speak as it should.
    pub async fn enter(
        &mut self,
        endpoint: &str,
        room: &str,
        token: Option<&str>,
        ca: Option<&Path>,
    ) -> Result<Vec<IceServer>, Failure> {
        let refused = |why: String| Failure::new("signaling", format!("{endpoint}: {why}"));
        self.rendezvous = Some(
            Rendezvous::enter(endpoint, room, token, ca)
                .await
                .map_err(refused)?,
        );
        let (peers, servers, unread) = match tokio::time::timeout(WELCOME, self.next()).await {
            Ok(Signal::Welcome {
                peers,
                servers,
                unread,
            }) => (peers, servers, unread),
            Ok(Signal::Refused { code, message }) => {
                return Err(refused(format!("{code}: {message}")));
            }
            Ok(Signal::Gone(why)) => return Err(refused(why)),
            Ok(_) => return Err(refused("the endpoint does not speak as it should".into())),
            Err(_) => {
                return Err(refused(format!(
                    "no welcome within {} s",
                    WELCOME.as_secs()
                )));
            }
        };
        for why in unread {
            tracing::warn!("a server was passed over: {why}");
        }
        if let Some(first) = peers.first() {
            self.meet(first, true);
        }
        Ok(servers)
    }

    /// The next signal; none ever once the endpoint is gone: a call that stands needs it no more.
    pub async fn next(&mut self) -> Signal {
        if let Some(rendezvous) = &mut self.rendezvous
            && let Some(signal) = rendezvous.next().await
        {
            return signal;
        }
        self.rendezvous = None;
        std::future::pending().await
    }

    /// Whether `from` is the other peer; the first one we hear of is.
    pub fn is_them(&self, from: &str) -> bool {
        self.them.as_deref().is_none_or(|them| them == from)
    }

    /// Whether the other peer is known.
    pub fn has_met(&self) -> bool {
        self.them.is_some()
    }

    /// From now on `id` is the other peer. When we are the newcomer, it offers; we do after a while, in case it has the opposite custom.
    pub fn meet(&mut self, id: &str, newcomer: bool) {
        self.them = Some(id.into());
        self.offer_at = newcomer.then(|| Instant::now() + NEWCOMER_OFFERS);
    }

    /// Whether the standing offer was ours.
    pub fn is_offerer(&self) -> bool {
        self.offered
    }

    /// When [`Negotiation::due`] wants to be called.
    pub fn next_due(&self) -> Option<Instant> {
        let crossed = self.crossed.as_ref().map(|(_, until)| *until);
        crossed.into_iter().chain(self.offer_at).min()
    }

    /// What time alone brings: an offer by the newcomer, or giving way to the offer that crossed ours. The media of our own offer.
    ///
    /// # Errors
    /// As [`Negotiation::accept_offer`].
    pub fn due(
        &mut self,
        rtc: &mut Rtc,
        ledger: &mut Ledger,
        at: u64,
        media: bool,
    ) -> Result<Vec<Mid>, Failure> {
        let now = Instant::now();
        if let Some((sdp, _)) = self.crossed.take_if(|(_, until)| *until <= now) {
            // Nobody has answered our offer: the other waits for us to give way.
            self.pending = None;
            self.offered = false;
            self.accept_offer(rtc, ledger, at, &sdp)?;
        }
        Ok(if self.offer_at.is_some_and(|at| at <= now) {
            self.offer(rtc, media)
        } else {
            Vec::new()
        })
    }

    /// Makes the first offer, with a data channel and perhaps media, whose identifiers it gives.
    pub fn offer(&mut self, rtc: &mut Rtc, media: bool) -> Vec<Mid> {
        self.offer_at = None;
        if self.described || self.pending.is_some() {
            return Vec::new();
        }
        self.offered = true;
        let mut changes = rtc.sdp_api();
        changes.add_channel_with_config(channel_config());
        let kinds: &[MediaKind] = if media {
            &[MediaKind::Audio, MediaKind::Video]
        } else {
            &[]
        };
        let mids = kinds
            .iter()
            .map(|kind| changes.add_media(*kind, Direction::SendRecv, None, None, None))
            .collect();
        let offer = changes.apply();
        self.send_offer(offer);
        mids
    }

    /// Asks for fresh checks between the candidates that there are. RFC 8445 §9. False while another offer is open.
    pub fn restart(&mut self, rtc: &mut Rtc) -> bool {
        if self.pending.is_some() {
            return false;
        }
        let mut changes = rtc.sdp_api();
        changes.ice_restart(true);
        let offer = changes.apply();
        self.send_offer(offer);
        true
    }

    /// Answers their offer; one that crossed ours waits, since an answer to ours may be on its way.
    ///
    /// # Errors
    /// `sdp`: the offer cannot be used.
    pub fn accept_offer(
        &mut self,
        rtc: &mut Rtc,
        ledger: &mut Ledger,
        at: u64,
        sdp: &str,
    ) -> Result<(), Failure> {
        if self.pending.is_some() {
            self.crossed = Some((sdp.into(), Instant::now() + CROSSED));
            return Ok(());
        }
        self.offer_at = None;
        let offer =
            SdpOffer::from_sdp_string(sdp).map_err(|error| unusable("their offer", error))?;
        let answer = rtc
            .sdp_api()
            .accept_offer(offer)
            .map_err(|error| unusable("their offer", error))?;
        let answer = answer.to_sdp_string();
        if let (Some(rendezvous), Some(them)) = (&self.rendezvous, &self.them) {
            rendezvous.answer(them, &answer);
        }
        self.described_by(rtc, ledger, at, sdp);
        self.described_ourselves(&answer);
        Ok(())
    }

    /// Takes their answer to our offer.
    ///
    /// # Errors
    /// `sdp`: the answer cannot be used.
    pub fn accept_answer(
        &mut self,
        rtc: &mut Rtc,
        ledger: &mut Ledger,
        at: u64,
        sdp: &str,
    ) -> Result<(), Failure> {
        let Some(pending) = self.pending.take() else {
            return Ok(());
        };
        self.crossed = None;
        let answer =
            SdpAnswer::from_sdp_string(sdp).map_err(|error| unusable("their answer", error))?;
        rtc.sdp_api()
            .accept_answer(pending, answer)
            .map_err(|error| unusable("their answer", error))?;
        self.described_by(rtc, ledger, at, sdp);
        Ok(())
    }

    /// Takes a candidate of theirs, and notes it; what cannot be used with the reason.
    pub fn remote_candidate(&mut self, rtc: &mut Rtc, ledger: &mut Ledger, at: u64, text: &str) {
        let text = text.strip_prefix("a=").unwrap_or(text);
        let candidate = match Candidate::from_sdp_string(text) {
            Ok(candidate) if candidate.proto() == Protocol::Udp => candidate,
            Ok(_) => {
                return ledger.remote(text, at, Some("ICE over TCP is not spoken here".into()));
            }
            Err(_) if text.contains(".local ") => {
                return ledger.remote(text, at, Some("hidden behind a multicast DNS name".into()));
            }
            Err(error) => return ledger.remote(text, at, Some(error.to_string())),
        };
        ledger.remote(text, at, None);
        if self.described {
            rtc.add_remote_candidate(candidate);
        } else {
            self.held.push(candidate);
        }
    }

    /// Tells the other of a candidate, unless our description will; `None` is the end of candidates.
    pub fn trickle(&mut self, candidate: Option<&str>) {
        self.gathered |= candidate.is_none();
        if let (Some(rendezvous), Some(them), Some(mid)) = (&self.rendezvous, &self.them, &self.mid)
        {
            rendezvous.candidate(them, candidate.map(|candidate| (candidate, mid.as_str())));
        }
    }

    /// Leaves the room.
    pub async fn leave(&mut self) {
        if let Some(rendezvous) = self.rendezvous.take() {
            rendezvous.leave().await;
        }
    }

    /// Says good-bye.
    pub fn bye(&self) {
        if let (Some(rendezvous), Some(them)) = (&self.rendezvous, &self.them) {
            rendezvous.bye(them);
        }
    }

    fn send_offer(&mut self, offer: Option<(SdpOffer, SdpPendingOffer)>) {
        let (Some((offer, pending)), Some(rendezvous), Some(them)) =
            (offer, &self.rendezvous, &self.them)
        else {
            return;
        };
        let sdp = offer.to_sdp_string();
        rendezvous.offer(them, &sdp);
        self.pending = Some(pending);
        self.described_ourselves(&sdp);
    }

    /// After our description: candidates belong to its first medium, and what is found from now on is trickled.
    fn described_ourselves(&mut self, sdp: &str) {
        self.mid = sdp
            .lines()
            .find_map(|line| line.strip_prefix("a=mid:"))
            .map(|mid| mid.trim().to_owned());
        if self.gathered {
            self.trickle(None);
        }
    }

    /// After their description: the candidates in it are known, and those that came before it may be used.
    fn described_by(&mut self, rtc: &mut Rtc, ledger: &mut Ledger, at: u64, sdp: &str) {
        self.described = true;
        for line in sdp
            .lines()
            .filter_map(|line| line.trim().strip_prefix("a=candidate:"))
        {
            ledger.remote(&format!("candidate:{line}"), at, None);
        }
        for candidate in std::mem::take(&mut self.held) {
            rtc.add_remote_candidate(candidate);
        }
    }
}

fn unusable(what: &str, error: impl std::fmt::Display) -> Failure {
    Failure::new("sdp", format!("{what}: {error}"))
}

/// Our data channel: messages are not repeated, so that loss shows.
pub fn channel_config() -> ChannelConfig {
    ChannelConfig {
        label: LABEL.into(),
        ordered: false,
        reliability: Reliability::MaxRetransmits { retransmits: 0 },
        ..ChannelConfig::default()
    }
}

/// The name of our data channel.
pub const LABEL: &str = "hairpin";
/// How long the endpoint may take to say welcome.
const WELCOME: Duration = Duration::from_secs(10);
/// Who was in the room first offers; the newcomer does after this time.
const NEWCOMER_OFFERS: Duration = Duration::from_secs(1);
/// How long, when two offers crossed, an answer to ours is waited for before we give way.
const CROSSED: Duration = Duration::from_millis(700);
