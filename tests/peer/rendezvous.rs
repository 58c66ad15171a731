//! A minimal signaling endpoint in the format of the real one, so that the peer is tested against
//! an independent implementation.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_tungstenite::tungstenite::Message;

/// The peers in the room: id and outgoing messages.
type Room = Arc<Mutex<Vec<(String, UnboundedSender<Value>)>>>;

/// Starts an endpoint with one room that offers `servers`. Returns its URL.
pub async fn start(servers: Value) -> String {
    watched(servers).await.0
}

/// Like [`start`]; the receiver gets true for each peer that leaves with a close frame, false for a
/// broken connection.
pub async fn watched(servers: Value) -> (String, UnboundedReceiver<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let room = Room::default();
    let (leaving, left) = unbounded_channel();
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve_peer(
                stream,
                format!("p{number}"),
                room.clone(),
                servers.clone(),
                leaving.clone(),
            ));
        }
    });
    (format!("ws://{address}/signal"), left)
}

async fn serve_peer(
    stream: TcpStream,
    id: String,
    room: Room,
    servers: Value,
    leaving: UnboundedSender<bool>,
) {
    let (mut sink, mut stream) = tokio_tungstenite::accept_async(stream)
        .await
        .unwrap()
        .split();
    let (outgoing, mut to_send) = unbounded_channel();
    let peers: Vec<String> = room
        .lock()
        .unwrap()
        .iter()
        .map(|(id, _)| id.clone())
        .collect();
    outgoing
        .send(json!({"type": "welcome", "id": id, "peers": peers, "iceServers": servers}))
        .unwrap();
    send_to_others(&room, &id, &json!({"type": "joined", "id": id}));
    room.lock().unwrap().push((id.clone(), outgoing));
    tokio::spawn(async move {
        while let Some(message) = to_send.recv().await {
            if sink.send(Message::text(message.to_string())).await.is_err() {
                return;
            }
        }
    });
    let mut closed = false;
    while let Some(Ok(message)) = stream.next().await {
        closed |= message.is_close();
        if let Message::Text(text) = message {
            let mut message: Value = serde_json::from_str(text.as_str()).unwrap();
            message["from"] = json!(id);
            send_to_others(&room, &id, &message);
        }
    }
    let _ = leaving.send(closed);
    room.lock().unwrap().retain(|(other, _)| *other != id);
    send_to_others(&room, &id, &json!({"type": "left", "id": id}));
}

fn send_to_others(room: &Room, id: &str, message: &Value) {
    for (_, outgoing) in room.lock().unwrap().iter().filter(|(other, _)| other != id) {
        let _left = outgoing.send(message.clone());
    }
}
