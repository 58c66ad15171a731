//! The channels of a shard: commands of the supervisor, and messages of other shards.

use crate::relay::shard::command::{Command, CommandReceiver};
use crate::relay::shard::forwarding::{ShardMessage, ShardReceiver};
use std::collections::VecDeque;
use std::task::{Context, Poll};

/// The receivers, and the commands and messages received for the current iteration.
pub(crate) struct Inbox {
    commands: CommandReceiver,
    messages: ShardReceiver,
    pending_commands: VecDeque<Command>,
    pending_messages: VecDeque<ShardMessage>,
}

impl Inbox {
    pub(crate) fn new(commands: CommandReceiver, messages: ShardReceiver) -> Inbox {
        Inbox {
            commands,
            messages,
            pending_commands: VecDeque::new(),
            pending_messages: VecDeque::new(),
        }
    }

    /// Receives everything that waits. The next arrival wakes the task of `cx`.
    pub(crate) fn collect(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(command) = self.commands.poll_recv(cx) {
            let is_closed = command.is_none();
            // Without a supervisor the shard has no reason to run.
            self.pending_commands
                .push_back(command.unwrap_or(Command::Stop));
            if is_closed {
                break;
            }
        }
        while let Poll::Ready(Some(message)) = self.messages.poll_recv(cx) {
            self.pending_messages.push_back(message);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pending_commands.is_empty() && self.pending_messages.is_empty()
    }

    pub(crate) fn pop_command(&mut self) -> Option<Command> {
        self.pending_commands.pop_front()
    }

    pub(crate) fn pop_message(&mut self) -> Option<ShardMessage> {
        self.pending_messages.pop_front()
    }
}
