// Failures in words: what a browser or the server says, made into something a person can act on.

/**
 * A failure as the page shows it and tells it to the other side.
 * @typedef {{code: string, name: string, message: string, words: string, hint: string}} Failure
 */

/** The failure of a step that threw. `code` says which step; `error` is what it threw. */
export function failure(code, error) {
  const name = error?.name ?? "Error";
  const message = error?.message || "no more is known";
  const [words, hint] = WORDS[`${code}/${name}`] ?? WORDS[code] ?? ["Something went wrong.", ""];
  return { code, name, message, words, hint };
}

/** The failure that the server told, `{code, name, message}`. */
export function refusal(told) {
  const code = String(told.code ?? "error");
  const [words, hint] = SERVER[code] ?? ["The server refused something.", ""];
  return { code, name: String(told.name ?? "Error"), message: String(told.message ?? ""), words, hint };
}

/** The failure that the other side told of itself. */
export function theirs(told) {
  const text = (value, fallback) => (typeof value === "string" ? value.slice(0, 300) : fallback);
  return {
    code: text(told?.code, "error"),
    name: text(told?.name, "Error"),
    message: text(told?.message, ""),
    words: "The other side has a problem.",
    hint: "",
  };
}

/** What an ICE candidate error means (RTCPeerConnectionIceErrorEvent). */
export function candidateError(event) {
  const meaning = {
    300: "sent us to another server",
    401: "did not accept the credentials",
    403: "forbids it",
    437: "had no allocation",
    438: "called the nonce stale",
    441: "did not accept the credentials",
    442: "does not relay over this transport",
    486: "says that this user has as many relays as it may",
    508: "has no relay address left",
    600: "could not be understood",
    701: "could not be reached",
  };
  return `${event.url || "the server"} ${meaning[event.errorCode] ?? "refused"} (${event.errorCode}${event.errorText ? `: ${event.errorText}` : ""})`;
}

const NO_MEDIA = "The call goes on with text; you can turn the camera or microphone on later.";

const WORDS = {
  "media": ["Camera and microphone could not be opened.", NO_MEDIA],
  "media/NotAllowedError": ["The browser was not allowed to use camera or microphone.", `Allow them in the address bar. ${NO_MEDIA}`],
  "media/SecurityError": ["The browser forbids camera and microphone here.", NO_MEDIA],
  "media/NotFoundError": ["No camera or microphone was found.", NO_MEDIA],
  "media/NotReadableError": ["Camera or microphone is in use by another program.", NO_MEDIA],
  "media/OverconstrainedError": ["No camera or microphone can do what was asked.", NO_MEDIA],
  "media/AbortError": ["Camera or microphone stopped while they were opened.", NO_MEDIA],
  "media/InsecureContextError": ["Browsers give camera and microphone only to https pages and to localhost.", NO_MEDIA],
  "create-connection": ["The connection could not be prepared.", "The server's list of ICE servers may be wrong: try “Test my relay”."],
  "create-offer": ["The call could not be offered.", "Try again."],
  "create-answer": ["The call could not be answered.", "Try again."],
  "local-description": ["The browser did not accept its own description of the call.", "Try again."],
  "remote-description": ["The browser did not understand the other side's description of the call.", "Both sides may have too little in common; try another browser."],
  "add-candidate": ["One of the other side's addresses could not be used.", "The call goes on with the others."],
  "no-path": ["No path between you has been found yet.", "Still trying. “Test my relay” tells which servers can be reached."],
  "path-lost": ["The path between you was lost, and no other was found.", "Check your network, then try again."],
  "playback": ["The browser did not start to play the other side.", "Press play."],
  "data-channel": ["The text channel broke.", ""],
  "renew": ["A new path could not be looked for.", "Hang up and join again."],
  "servers": ["The list of ICE servers could not be fetched.", "Join a room first, or ask the operator to open it."],
  "signaling": ["The server cannot be reached.", "Trying again."],
};

const SERVER = {
  "origin": ["This page may not use that server.", "Open the page from the server itself."],
  "bad-room": ["This is not a name for a room.", "Letters, digits, “-”, “_”, “.” and “~”, at most 64."],
  "bad-peers": ["The room cannot take that many.", ""],
  "token-required": ["This server opens rooms by invitation only.", "Ask for a link with a token."],
  "token-invalid": ["The invitation is for another room.", "Ask for a new link."],
  "token-expired": ["The invitation has expired.", "Ask for a new link."],
  "refused": ["You may not enter this room.", ""],
  "unchecked": ["The server could not find out whether you may enter.", "Try again soon."],
  "room-full": ["The room is full.", "Choose another name, or wait until somebody leaves."],
  "too-many-rooms": ["The server has as many rooms as it takes.", "Try again later."],
  "too-many-connections": ["The server has as many visitors as it takes.", "Try again later."],
  "too-many-from-address": ["Your network has as many visitors here as it may have.", "Try again later."],
  "stopping": ["The server is restarting.", "Trying again."],
  "too-large": ["A message was too large for the server.", ""],
  "too-fast": ["Messages went out faster than the server takes them.", ""],
  "idle": ["Nothing happened for a long time.", "Join again when you are ready."],
  "unfinished": ["A message took too long to send.", "Trying again."],
  "slow": ["Messages were read too slowly.", "Trying again."],
  "replaced": ["This call goes on in another tab or window.", ""],
  "not-open": ["The server does not hand out its ICE servers here.", ""],
};
