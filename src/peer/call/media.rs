//! Synthetic audio and video: silence in Opus, a still picture in VP8. The other peer can decode
//! and count the frames.

use std::time::{Duration, Instant};

use str0m::Rtc;
use str0m::format::Codec;
use str0m::media::{MediaKind, MediaTime, Mid};

use crate::peer::verdict::MediaCounts;

/// The tracks that we send, and the frames of both peers.
#[derive(Debug)]
pub struct Tracks {
    started: Instant,
    tracks: Vec<Track>,
    counts: MediaCounts,
}

#[derive(Debug)]
struct Track {
    mid: Mid,
    kind: MediaKind,
    next: Instant,
}

impl Tracks {
    /// No tracks; timestamps count from `started`.
    pub fn new(started: Instant) -> Tracks {
        Tracks {
            started,
            tracks: Vec::new(),
            counts: MediaCounts::default(),
        }
    }

    /// The frames sent and received so far.
    pub fn counts(&self) -> MediaCounts {
        self.counts
    }

    /// Starts a track.
    pub fn add(&mut self, mid: Mid, kind: MediaKind, now: Instant) {
        if !self.tracks.iter().any(|track| track.mid == mid) {
            self.tracks.push(Track {
                mid,
                kind,
                next: now,
            });
        }
    }

    /// Counts a received frame.
    pub fn record_received(&mut self, is_audio: bool) {
        let frames = match is_audio {
            true => &mut self.counts.audio,
            false => &mut self.counts.video,
        };
        frames.received += 1;
    }

    /// When the next frame is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.tracks.iter().map(|track| track.next).min()
    }

    /// Sends every frame that is due.
    pub fn send_due(&mut self, rtc: &mut Rtc, now: Instant) {
        for track in &mut self.tracks {
            if track.next > now {
                continue;
            }
            let (codec, frame, interval, frames) = match track.kind {
                MediaKind::Audio => (
                    Codec::Opus,
                    &SILENCE[..],
                    AUDIO_INTERVAL,
                    &mut self.counts.audio,
                ),
                MediaKind::Video => (Codec::Vp8, PICTURE, VIDEO_INTERVAL, &mut self.counts.video),
            };
            track.next = (track.next + interval).max(now);
            let Some(writer) = rtc.writer(track.mid) else {
                continue;
            };
            let Some(format) = writer
                .payload_params()
                .find(|params| params.spec().codec == codec)
            else {
                continue;
            };
            let (pt, rate) = (format.pt(), format.spec().clock_rate);
            let time = MediaTime::from(now.saturating_duration_since(self.started)).rebase(rate);
            if writer.write(pt, now, time, frame).is_ok() {
                frames.sent += 1;
            }
        }
    }
}

/// One Opus frame: 20 ms of silence.
const SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];
/// One VP8 key frame of 64 × 48 pixels.
const PICTURE: &[u8] = include_bytes!("picture.vp8");
const AUDIO_INTERVAL: Duration = Duration::from_millis(20);
const VIDEO_INTERVAL: Duration = Duration::from_millis(100);
