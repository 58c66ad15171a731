//! The output of the protocol: effects, and the octets of the messages that effects refer to.

use crate::turn::effect::Effect;
use crate::turn::ids::five_tuple::Client;
use crate::wire::{Class, Method, TransactionId, Writer};
use std::net::SocketAddr;
use std::ops::Range;

/// The effects since they were last taken, and the messages of the last call.
#[derive(Debug, Default)]
pub struct Output {
    effects: Vec<Effect>,
    /// The octets that [`Effect::Send`] points into. The buffer keeps its capacity from call to
    /// call.
    messages: Vec<u8>,
}

impl Output {
    /// Discards the messages of the previous call.
    pub fn clear_messages(&mut self) {
        self.messages.clear();
    }

    /// Adds an effect.
    pub fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Begins a message. [`Output::send`] sends it.
    pub fn message_writer(
        &mut self,
        class: Class,
        method: Method,
        transaction: &TransactionId,
    ) -> Writer<'_> {
        Writer::new(&mut self.messages, class, method, transaction)
    }

    /// Adds the effect that sends a finished message; `from` as in [`Effect::Send`].
    pub fn send(&mut self, to: Client, from: Option<SocketAddr>, message: Range<usize>) {
        self.effects.push(Effect::Send { to, from, message });
    }

    /// Appends all effects to `into`.
    pub fn take_effects(&mut self, into: &mut Vec<Effect>) {
        into.append(&mut self.effects);
    }

    /// The octets of a message.
    pub fn message(&self, range: &Range<usize>) -> &[u8] {
        self.messages.get(range.clone()).unwrap_or_default()
    }
}
