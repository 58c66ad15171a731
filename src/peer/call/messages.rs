//! Numbered messages over the data channel. Each is answered, so that loss, round trips and silence
//! are known.
//!
//! `{"hairpin":"ping","n":7,"view":{"local":"host","remote":"srflx"}}` is answered by
//! `{"hairpin":"pong","n":7}`. The view is the sender's selected pair.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::peer::verdict::{CandidateKind, Messages, PairTypes, RoundTrips};

/// The messages of one call, as one peer counts them.
#[derive(Debug, Default)]
pub struct MessageExchange {
    sent: u64,
    answered: u64,
    received: u64,
    /// Numbers and times of pings without a pong.
    unanswered: VecDeque<(u64, Instant)>,
    round_trips: RoundTripStats,
    last_received: Option<Instant>,
    /// The time of the last message, sent or received.
    now: Option<Instant>,
    longest_silence: Duration,
    /// The selected pair as the other peer last reported it.
    pub remote_view: Option<PairTypes>,
}

#[derive(Debug, Default)]
struct RoundTripStats {
    least: Option<Duration>,
    most: Duration,
    total: Duration,
    count: u32,
}

/// A message from the other peer.
#[derive(Debug, PartialEq, Eq)]
pub enum IncomingMessage {
    /// A ping, with the pong to send.
    Ping(String),
    /// A pong.
    Pong,
    /// Anything else, such as the chat of a browser.
    Other,
}

impl MessageExchange {
    /// Returns the next ping to send.
    pub fn next_ping(&mut self, now: Instant, view: Option<PairTypes>) -> String {
        self.sent += 1;
        self.now = Some(now);
        self.unanswered.push_back((self.sent, now));
        if self.unanswered.len() > MAX_UNANSWERED {
            self.unanswered.pop_front();
        }
        json!({"hairpin": "ping", "n": self.sent, "view": view}).to_string()
    }

    /// Handles a message.
    pub fn receive(&mut self, now: Instant, octets: &[u8]) -> IncomingMessage {
        self.now = Some(now);
        if let Some(last) = self.last_received.replace(now) {
            let silence = now.saturating_duration_since(last);
            self.longest_silence = self.longest_silence.max(silence);
        }
        let message: Value = serde_json::from_slice(octets).unwrap_or_default();
        let number = message.get("n").and_then(Value::as_u64);
        match (message.get("hairpin").and_then(Value::as_str), number) {
            (Some("ping"), Some(number)) => {
                self.received += 1;
                self.remote_view = parse_view(&message).or(self.remote_view);
                IncomingMessage::Ping(json!({"hairpin": "pong", "n": number}).to_string())
            }
            (Some("pong"), Some(number)) => {
                self.record_pong(now, number);
                IncomingMessage::Pong
            }
            _ => IncomingMessage::Other,
        }
    }

    /// Time since the last message was received; zero before the first.
    pub fn silence(&self, now: Instant) -> Duration {
        self.last_received
            .map_or(Duration::ZERO, |last| now.saturating_duration_since(last))
    }

    /// Returns true once a message has been received.
    pub fn has_received(&self) -> bool {
        self.last_received.is_some()
    }

    /// Returns true if every ping has its pong.
    pub fn is_all_answered(&self) -> bool {
        self.unanswered.is_empty()
    }

    /// The counts so far.
    pub fn messages(&self) -> Messages {
        // A ping sent just before the other peer hung up is not lost on the path.
        let is_in_flight = |sent: Instant| {
            self.now
                .is_some_and(|now| now.saturating_duration_since(sent) < MAX_ROUND_TRIP)
        };
        let in_flight = self
            .unanswered
            .iter()
            .filter(|(_, sent)| is_in_flight(*sent))
            .count() as u64;
        let lost = self.sent.saturating_sub(self.answered + in_flight);
        let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
        Messages {
            sent: self.sent,
            answered: self.answered,
            received: self.received,
            lost_percent: if self.sent == 0 {
                0.0
            } else {
                lost as f64 * 100.0 / self.sent as f64
            },
            longest_silence_ms: self.longest_silence.as_millis() as u64,
            rtt_ms: self.round_trips.least.map(|least| RoundTrips {
                least: milliseconds(least),
                mean: milliseconds(self.round_trips.total) / f64::from(self.round_trips.count),
                most: milliseconds(self.round_trips.most),
            }),
        }
    }

    fn record_pong(&mut self, now: Instant, number: u64) {
        let index = self.unanswered.iter().position(|(ping, _)| *ping == number);
        let Some((_, sent)) = index.and_then(|index| self.unanswered.remove(index)) else {
            return;
        };
        let round_trip = now.saturating_duration_since(sent);
        self.answered += 1;
        self.round_trips.least = Some(
            self.round_trips
                .least
                .map_or(round_trip, |least| least.min(round_trip)),
        );
        self.round_trips.most = self.round_trips.most.max(round_trip);
        self.round_trips.total += round_trip;
        self.round_trips.count += 1;
    }
}

fn parse_view(message: &Value) -> Option<PairTypes> {
    let kind = |end: &str| CandidateKind::from_name(message.get("view")?.get(end)?.as_str()?);
    Some(PairTypes {
        local: kind("local")?,
        remote: kind("remote")?,
    })
}

/// Pings that wait for a pong at most. The oldest counts as lost then.
const MAX_UNANSWERED: usize = 512;
/// Time after which a pong counts as lost.
const MAX_ROUND_TRIP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_are_answered_and_lost_ones_counted() {
        let began = Instant::now();
        let at = |milliseconds| began + Duration::from_millis(milliseconds);
        let view = PairTypes {
            local: CandidateKind::Host,
            remote: CandidateKind::Relay,
        };
        let (mut one, mut other) = (MessageExchange::default(), MessageExchange::default());
        for (n, lost) in [(0, false), (1, true), (2, false), (3, false)] {
            let ping = one.next_ping(at(n * 1000), Some(view));
            if lost {
                continue;
            }
            let IncomingMessage::Ping(pong) = other.receive(at(n * 1000 + 5), ping.as_bytes())
            else {
                panic!("{ping}")
            };
            assert_eq!(
                one.receive(at(n * 1000 + 10), pong.as_bytes()),
                IncomingMessage::Pong
            );
        }
        let messages = one.messages();
        assert_eq!(
            (messages.sent, messages.answered, messages.lost_percent),
            (4, 3, 25.0)
        );
        assert_eq!(
            (
                messages.longest_silence_ms,
                messages.rtt_ms.unwrap().mean.round()
            ),
            (2000, 10.0)
        );
        assert_eq!(
            (other.messages().received, other.remote_view),
            (3, Some(view))
        );
        assert!(!one.is_all_answered() && other.is_all_answered());
    }

    #[test]
    fn a_repeated_pong_and_a_chat_message_do_not_count() {
        let mut one = MessageExchange::default();
        one.next_ping(Instant::now(), None);
        let pong = br#"{"hairpin":"pong","n":1}"#;
        one.receive(Instant::now(), pong);
        one.receive(Instant::now(), pong);
        assert_eq!(one.messages().answered, 1);
        assert_eq!(
            one.receive(Instant::now(), b"hello"),
            IncomingMessage::Other
        );
    }
}
