//! Synthetic audio and video: silence in Opus, a still picture in VP8. Enough for the other end to decode and count.

use std::time::{Duration, Instant};

use str0m::Rtc;
use str0m::format::Codec;
use str0m::media::{MediaKind, MediaTime, Mid};

use crate::peer::verdict::Media;

/// The tracks of a call, and when each sends its next frame.
#[derive(Debug)]
pub struct Tracks {
    began: Instant,
    tracks: Vec<Track>,
    /// What was sent and received.
    pub counted: Media,
}

#[derive(Debug)]
struct Track {
    mid: Mid,
    kind: MediaKind,
    next: Instant,
}

impl Tracks {
    /// No tracks yet.
    pub fn new(began: Instant) -> Tracks {
        Tracks {
            began,
            tracks: Vec::new(),
            counted: Media::default(),
        }
    }

    /// Sends on this medium from now on.
    pub fn add(&mut self, mid: Mid, kind: MediaKind, now: Instant) {
        if !self.tracks.iter().any(|track| track.mid == mid) {
            self.tracks.push(Track {
                mid,
                kind,
                next: now,
            });
        }
    }

    /// Counts a frame that came.
    pub fn received(&mut self, audio: bool) {
        let frames = if audio {
            &mut self.counted.audio
        } else {
            &mut self.counted.video
        };
        frames.received += 1;
    }

    /// When the next frame is due.
    pub fn next(&self) -> Option<Instant> {
        self.tracks.iter().map(|track| track.next).min()
    }

    /// Sends every frame that is due.
    pub fn send(&mut self, rtc: &mut Rtc, now: Instant) {
        for track in &mut self.tracks {
            if track.next > now {
                continue;
            }
            let (codec, frame, interval, frames) = match track.kind {
                MediaKind::Audio => (
                    Codec::Opus,
                    &SILENCE[..],
                    AUDIO_INTERVAL,
                    &mut self.counted.audio,
                ),
                MediaKind::Video => (Codec::Vp8, PICTURE, VIDEO_INTERVAL, &mut self.counted.video),
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
            let time = MediaTime::from(now.saturating_duration_since(self.began)).rebase(rate);
            if writer.write(pt, now, time, frame).is_ok() {
                frames.sent += 1;
            }
        }
    }
}

/// One Opus frame of 20 ms in which nothing is heard.
const SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];
/// One VP8 key frame, 64 × 48: every frame can be decoded by itself.
const PICTURE: &[u8] = include_bytes!("picture.vp8");
const AUDIO_INTERVAL: Duration = Duration::from_millis(20);
const VIDEO_INTERVAL: Duration = Duration::from_millis(100);
