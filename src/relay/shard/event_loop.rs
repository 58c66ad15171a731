//! The event loop of a shard: wait, receive a batch, decide, send a batch.
//!
//! An *iteration* executes the commands and messages that arrived, serves every source that is
//! ready, handles expired timers, and then sends all queued datagrams. The batch has
//! [`SLOTS`](super::relay) slots; when few are left in the middle of an iteration, the loop sends
//! and begins a new batch. A source that still has input after one receive goes behind all others.

use crate::relay::io::clock::Clock;
use crate::relay::io::ready_queue::{Source, Sources};
use crate::relay::observe::counters::Counters;
use crate::relay::shard::coalesce::Coalesce;
use crate::relay::shard::inbox::Inbox;
use crate::relay::shard::relay::{Relay, RelaySetup, SourceState};
use crate::relay::shard::timer::Timer;
use crate::turn;
use crate::turn::Instant;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// The relay on one core: it owns every socket, connection and allocation that it serves.
pub(crate) struct EventLoop {
    relay: Relay,
    sources: Sources,
    inbox: Inbox,
    timer: Timer,
    clock: Clock,
    coalesce: Coalesce,
    counters: Arc<Counters>,
    is_running: bool,
}

impl EventLoop {
    /// Registers the sockets with the runtime of the calling thread.
    ///
    /// # Errors
    /// The runtime cannot register a socket.
    pub(crate) fn new(setup: RelaySetup, inbox: Inbox) -> io::Result<EventLoop> {
        let (clock, counters) = (setup.clock, setup.counters.clone());
        let sources = Sources::default();
        let relay = Relay::new(setup, sources.ready_queue())?;
        Ok(EventLoop {
            relay,
            sources,
            inbox,
            timer: Timer::new(clock),
            clock,
            coalesce: Coalesce::new(clock.now()),
            counters,
            is_running: true,
        })
    }

    /// The counters of the shard's protocol.
    pub(crate) fn turn_counters(&self) -> Arc<turn::Counters> {
        self.relay.turn_counters()
    }

    /// Runs until [`Command::Stop`](super::command::Command::Stop).
    pub(crate) async fn run(mut self) {
        while self.is_running {
            self.wait().await;
            let began = self.clock.now();
            self.iterate(began);
            let ended = self.clock.now();
            self.counters.iterations.add(1);
            self.counters
                .busy_nanoseconds
                .add(ended.0.saturating_sub(began.0));
            let pause = self.coalesce.pause_after(began, ended);
            if let Some(pause) = pause.filter(|_| !self.sources.has_unfinished() && self.is_running)
            {
                std::thread::sleep(pause);
            }
        }
    }

    /// Waits until there is something to do. With unfinished sources it only lets the runtime poll
    /// its descriptors.
    async fn wait(&mut self) {
        if self.sources.has_unfinished() {
            tokio::task::yield_now().await;
            self.collect(&mut Context::from_waker(Waker::noop()), false);
            self.sources.resume_unfinished();
            return;
        }
        let deadline = self.relay.next_deadline().into_iter();
        let deadline = deadline.chain(self.sources.next_retry()).min();
        self.timer.set(deadline, self.relay.now());
        poll_fn(|cx| {
            self.collect(cx, true);
            let is_due = self.timer.poll(cx);
            if is_due || !self.sources.is_empty() || !self.inbox.is_empty() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Collects ready sources, commands and messages.
    fn collect(&mut self, cx: &mut Context<'_>, wake: bool) {
        self.sources.collect(wake.then(|| cx.waker()));
        let sources = &mut self.sources;
        self.relay
            .for_each_ready_relay_socket(cx, |number| sources.push(Source::UdpRelay(number)));
        self.inbox.collect(cx);
    }

    fn iterate(&mut self, now: Instant) {
        self.relay.set_time(now);
        while let Some(command) = self.inbox.pop_command() {
            self.is_running &= self.relay.execute(command).is_continue();
        }
        while let Some(message) = self.inbox.pop_message() {
            self.relay.receive_message(message);
        }
        while let Some(source) = self.sources.pop() {
            if self.relay.is_batch_nearly_full() {
                self.relay.send_batch();
                self.relay.set_time(self.clock.now());
            }
            match self.relay.serve(source) {
                Ok(SourceState::Drained) => {}
                Ok(SourceState::Unfinished) => self.sources.push_unfinished(source),
                Err(error) => {
                    tracing::debug!(?source, %error, "receive or accept failed; retrying later");
                    self.sources.push_failed(source, now);
                }
            }
        }
        self.relay.handle_timeouts();
        self.sources.retry_failed(now);
        self.relay.send_batch();
    }
}
