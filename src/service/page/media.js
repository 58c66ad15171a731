// Camera and microphone: requested together, then separately; the call works without them.

import { failure } from "./words.js";

/**
 * Opens the requested devices, or those that are available.
 * @returns {Promise<{tracks: MediaStreamTrack[], failure: import("./words.js").Failure | null}>}
 */
export async function open({ audio, video }) {
  if (!audio && !video) return { tracks: [], failure: null };
  if (!navigator.mediaDevices?.getUserMedia) {
    const error = { name: "InsecureContextError", message: `${location.origin} is not a secure context` };
    return { tracks: [], failure: failure("media", error) };
  }
  const first = await request({ audio, video });
  if (first.tracks.length || !(audio && video) || first.error.name === "NotAllowedError") return result(first);
  for (const kinds of [{ audio, video: false }, { audio: false, video }]) {
    const part = await request(kinds);
    if (part.tracks.length) return result({ ...part, error: first.error });
  }
  return result(first);
}

async function request({ audio, video }) {
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: audio && AUDIO, video: video && VIDEO });
    return { tracks: stream.getTracks(), error: null };
  } catch (error) {
    return { tracks: [], error };
  }
}

function result({ tracks, error }) {
  return { tracks, failure: error && failure("media", error) };
}

const AUDIO = { echoCancellation: true, noiseSuppression: true };
const VIDEO = { width: { ideal: 1280 }, height: { ideal: 720 }, facingMode: "user" };
