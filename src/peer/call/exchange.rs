//! The numbered messages that two peers exchange over the data channel: each is answered, so that loss, round trips and silence can be told.
//!
//! `{"hairpin":"ping","n":7,"view":{"local":"host","remote":"srflx"}}` is answered by `{"hairpin":"pong","n":7}`. The view is the sender's selected pair.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::peer::verdict::{Kind, Messages, RoundTrips, Types};

/// The exchange as seen from one end.
#[derive(Debug, Default)]
pub struct Exchange {
    sent: u64,
    answered: u64,
    received: u64,
    open: VecDeque<(u64, Instant)>,
    trips: Trips,
    last: Option<Instant>,
    /// The latest time that is known.
    now: Option<Instant>,
    silence: Duration,
    /// The other end's selected pair, as it last told.
    pub theirs: Option<Types>,
}

#[derive(Debug, Default)]
struct Trips {
    least: Option<Duration>,
    most: Duration,
    total: Duration,
    count: u32,
}

/// What a message calls for.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// A ping: this pong is to be sent.
    Ping(String),
    /// A pong to one of ours.
    Pong,
    /// Something else: a browser's chat, say.
    Other,
}

impl Exchange {
    /// The next ping to send.
    pub fn ping(&mut self, now: Instant, view: Option<Types>) -> String {
        self.sent += 1;
        self.now = Some(now);
        self.open.push_back((self.sent, now));
        if self.open.len() > MOST_OPEN {
            self.open.pop_front();
        }
        json!({"hairpin": "ping", "n": self.sent, "view": view}).to_string()
    }

    /// Takes in what came.
    pub fn hear(&mut self, now: Instant, octets: &[u8]) -> Heard {
        self.now = Some(now);
        if let Some(last) = self.last.replace(now) {
            self.silence = self.silence.max(now.saturating_duration_since(last));
        }
        let message: Value = serde_json::from_slice(octets).unwrap_or_default();
        let number = message.get("n").and_then(Value::as_u64);
        match (message.get("hairpin").and_then(Value::as_str), number) {
            (Some("ping"), Some(number)) => {
                self.received += 1;
                self.theirs = read_view(&message).or(self.theirs);
                Heard::Ping(json!({"hairpin": "pong", "n": number}).to_string())
            }
            (Some("pong"), Some(number)) => {
                self.answer(now, number);
                Heard::Pong
            }
            _ => Heard::Other,
        }
    }

    /// How long nothing has come in; nothing before the first message.
    pub fn silent(&self, now: Instant) -> Duration {
        self.last
            .map_or(Duration::ZERO, |last| now.saturating_duration_since(last))
    }

    /// Whether anything has come in.
    pub fn has_heard(&self) -> bool {
        self.last.is_some()
    }

    /// Whether every ping has its pong.
    pub fn is_settled(&self) -> bool {
        self.open.is_empty()
    }

    /// The figures.
    pub fn messages(&self) -> Messages {
        // What was sent just before the other hung up is not lost on the way.
        let young = |asked: &Instant| {
            self.now
                .is_some_and(|now| now.saturating_duration_since(*asked) < STILL_COMING)
        };
        let coming = self.open.iter().filter(|(_, asked)| young(asked)).count() as u64;
        let lost = self.sent.saturating_sub(self.answered + coming);
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
            longest_silence_ms: self.silence.as_millis() as u64,
            rtt_ms: self.trips.least.map(|least| RoundTrips {
                least: milliseconds(least),
                mean: milliseconds(self.trips.total) / f64::from(self.trips.count),
                most: milliseconds(self.trips.most),
            }),
        }
    }

    fn answer(&mut self, now: Instant, number: u64) {
        let Some(at) = self.open.iter().position(|(open, _)| *open == number) else {
            return;
        };
        let Some((_, asked)) = self.open.remove(at) else {
            return;
        };
        let trip = now.saturating_duration_since(asked);
        self.answered += 1;
        self.trips.least = Some(self.trips.least.map_or(trip, |least| least.min(trip)));
        self.trips.most = self.trips.most.max(trip);
        self.trips.total += trip;
        self.trips.count += 1;
    }
}

fn read_view(message: &Value) -> Option<Types> {
    let kind = |end: &str| Kind::from_name(message.get("view")?.get(end)?.as_str()?);
    Some(Types {
        local: kind("local")?,
        remote: kind("remote")?,
    })
}

/// Pings that are waited for at most; an older one counts as lost.
const MOST_OPEN: usize = 512;

/// How long an answer may be on its way.
const STILL_COMING: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_are_answered_and_loss_is_counted() {
        let began = Instant::now();
        let at = |milliseconds| began + Duration::from_millis(milliseconds);
        let view = Types {
            local: Kind::Host,
            remote: Kind::Relay,
        };
        let (mut one, mut other) = (Exchange::default(), Exchange::default());
        for (n, lost) in [(0, false), (1, true), (2, false), (3, false)] {
            let ping = one.ping(at(n * 1000), Some(view));
            if lost {
                continue;
            }
            let Heard::Ping(pong) = other.hear(at(n * 1000 + 5), ping.as_bytes()) else {
                panic!("{ping}")
            };
            assert_eq!(one.hear(at(n * 1000 + 10), pong.as_bytes()), Heard::Pong);
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
        assert_eq!((other.messages().received, other.theirs), (3, Some(view)));
        assert!(!one.is_settled() && other.is_settled());
    }

    #[test]
    fn a_pong_counts_once_and_chat_not_at_all() {
        let mut one = Exchange::default();
        one.ping(Instant::now(), None);
        let pong = br#"{"hairpin":"pong","n":1}"#;
        one.hear(Instant::now(), pong);
        one.hear(Instant::now(), pong);
        assert_eq!(one.messages().answered, 1);
        assert_eq!(one.hear(Instant::now(), b"hello"), Heard::Other);
    }
}
