// Failures as text: errors of the browser and refusals of the server, with what the user can do about them.

/**
 * A failure as the page shows it and reports it to the other side.
 * @typedef {{code: string, name: string, message: string, words: string, hint: string}} Failure
 */

/** The failure of a step that threw `error`; `code` names the step. */
export function failure(code, error) {
  const name = error?.name ?? "Error";
  const message = error?.message || "no further details";
  const [words, hint] = WORDS[`${code}/${name}`] ?? WORDS[code] ?? ["Something went wrong.", ""];
  return { code, name, message, words, hint };
}

/** The failure for a refusal of the server, `{code, name, message}`. */
export function refusal(error) {
  const code = String(error.code ?? "error");
  const [words, hint] = SERVER[code] ?? ["The server refused a request.", ""];
  return { code, name: String(error.name ?? "Error"), message: String(error.message ?? ""), words, hint };
}

/** The failure that the other side reported. */
export function remoteFailure(reported) {
  const text = (value, fallback) => (typeof value === "string" ? value.slice(0, 300) : fallback);
  return {
    code: text(reported?.code, "error"),
    name: text(reported?.name, "Error"),
    message: text(reported?.message, ""),
    words: "Their browser reported a problem.",
    hint: "",
  };
}

/** An ICE candidate error (RTCPeerConnectionIceErrorEvent) as text. */
export function candidateError(event) {
  const meaning = {
    300: "redirected to another server",
    401: "rejected the credentials",
    403: "refused permission",
    437: "found no allocation",
    438: "reported a stale nonce",
    441: "rejected the credentials",
    442: "does not support this transport",
    486: "reached this user’s allocation quota",
    508: "has no relay address available",
    600: "sent an invalid response",
    701: "could not be reached",
  };
  return `${event.url || "the server"} ${meaning[event.errorCode] ?? "refused"} (${event.errorCode}${event.errorText ? `: ${event.errorText}` : ""})`;
}

const NO_MEDIA = "The call continues with text; you can turn the camera or microphone on later.";

const WORDS = {
  "media": ["The camera and microphone could not be opened.", NO_MEDIA],
  "media/NotAllowedError": ["Permission to use the camera or microphone was denied.", `Allow them in the address bar. ${NO_MEDIA}`],
  "media/SecurityError": ["The browser blocks the camera and microphone here.", NO_MEDIA],
  "media/NotFoundError": ["No camera or microphone was found.", NO_MEDIA],
  "media/NotReadableError": ["The camera or microphone is in use by another program.", NO_MEDIA],
  "media/OverconstrainedError": ["No camera or microphone meets the requirements.", NO_MEDIA],
  "media/AbortError": ["The camera or microphone stopped while starting.", NO_MEDIA],
  "media/InsecureContextError": ["Camera and microphone need HTTPS.", "Open this page over HTTPS or on localhost. The call continues with text."],
  "create-connection": ["The connection could not be prepared.", "The server’s list of ICE servers may be invalid; try “Test my relay”."],
  "create-offer": ["The browser could not create an offer.", "Hang up and join again."],
  "create-answer": ["The browser could not create an answer.", "Hang up and join again."],
  "local-description": ["The browser rejected its own session description.", "Hang up and join again."],
  "remote-description": ["The browser rejected their session description.", "The two browsers may have no codec in common; try another browser."],
  "add-candidate": ["One of their addresses could not be used.", "The call continues with the others."],
  "no-path": ["No path found yet.", "Still trying. “Test my relay” shows which servers are reachable."],
  "path-lost": ["The connection was lost, and no other path was found.", "Check your network, then try again."],
  "playback": ["The browser blocked playback.", "Press Play."],
  "data-channel": ["Chat disconnected.", ""],
  "renew": ["The search for a new path failed.", "Hang up and join again."],
  "servers": ["The list of ICE servers could not be fetched.", "Join a room first, or ask the operator for access."],
  "signaling": ["The server is unreachable.", "Retrying."],
};

const SERVER = {
  "origin": ["Pages of this origin may not use the server.", "Open the page from the server itself."],
  "bad-room": ["Invalid room name.", "Letters, digits, “-”, “_”, “.” and “~”, at most 64."],
  "bad-peers": ["The room cannot have that many participants.", ""],
  "token-required": ["This server requires an invitation.", "Ask for a link with a token."],
  "token-invalid": ["The invitation is for another room.", "Ask for a new link."],
  "token-expired": ["The invitation has expired.", "Ask for a new link."],
  "refused": ["You may not enter this room.", ""],
  "unchecked": ["The server could not check your access.", "Try again soon."],
  "room-full": ["The room is full.", "Choose another name, or wait until someone leaves."],
  "too-many-rooms": ["The server is full.", "Try again later."],
  "too-many-connections": ["The server is full.", "Try again later."],
  "too-many-from-address": ["Too many connections from your network.", "Try again later."],
  "stopping": ["The server is restarting.", "Retrying."],
  "too-large": ["A message was too large for the server.", ""],
  "too-fast": ["Messages were sent too fast.", ""],
  "idle": ["Disconnected for inactivity.", "Join again when you are ready."],
  "unfinished": ["A message took too long to send.", "Retrying."],
  "slow": ["Messages were read too slowly.", "Retrying."],
  "replaced": ["You joined this call in another tab.", ""],
  "not-open": ["The server gives this page no access to its relay.", "Its operator decides who may use it: room_secret, room_hook, or ice_open."],
};
