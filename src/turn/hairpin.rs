//! Which doors an allocation keeps open for other shards: one for each permission and each channel whose peer is on one
//! of this server's own addresses. See [`crate::turn::shared::hairpin_routes`].

use crate::turn::allocation::{Allocation, AllocationId};
use crate::turn::ids::five_tuple::Transport;
use crate::turn::ids::time::Instant;
use crate::turn::state::State;
use crate::wire::attribute::Family;
use std::net::SocketAddr;

impl State {
    /// Makes the doors of an allocation follow its permissions and channels. Only datagram clients have doors: any shard
    /// may send to them, since all listen on the same address. And only those that nothing is metered of: a meter stands at
    /// the allocation.
    pub(crate) fn renew_doors(&mut self, now: Instant, id: AllocationId) {
        let Some(allocation) = self.table.get(id) else {
            return;
        };
        let datagrams = allocation.client.five_tuple.transport == Transport::Udp;
        let wanted =
            match self.shared.multiple_shards && datagrams && allocation.grant.meter().is_none() {
                true => self.wanted(now, allocation),
                false => Vec::new(),
            };
        if wanted.is_empty() && allocation.doors.is_empty() {
            return;
        }
        let client = allocation.client;
        let mut came_in = Vec::new();
        let gone = allocation
            .doors
            .iter()
            .filter(|old| !wanted.iter().any(|door| (door.relayed, door.peer) == **old));
        came_in.extend(gone.map(|(relayed, peer)| self.shared.doors.close(*relayed, *peer)));
        let open = |door: &Wanted| {
            self.shared
                .doors
                .open(door.relayed, door.peer, client, door.channel, door.expires)
        };
        came_in.extend(wanted.iter().map(open));
        let Some(allocation) = self.table.get_mut(id) else {
            return;
        };
        allocation.doors = wanted
            .iter()
            .map(|door| (door.relayed, door.peer))
            .collect();
        for volume in came_in {
            allocation.traffic.to_client += volume;
        }
    }

    fn wanted(&self, now: Instant, allocation: &Allocation) -> Vec<Wanted> {
        let relayed = |peer: SocketAddr| {
            let half = allocation.halves.get(Family::of(peer.ip()))?;
            let external = self.table.relayed(half.relayed)?.external;
            let permission = allocation.permissions.find(peer.ip(), now)?;
            Some((external, half.expires.min(permission.expires)))
        };
        let own = |peer: &SocketAddr| self.policy.own_addresses.contains(peer.ip());
        let by_permission = allocation
            .permissions
            .iter()
            .map(|permission| SocketAddr::new(permission.address, 0));
        let by_permission = by_permission.filter(own).filter_map(|peer| {
            let (relayed, expires) = relayed(peer)?;
            Some(Wanted {
                relayed,
                peer,
                channel: None,
                expires,
            })
        });
        let by_channel = allocation
            .channels
            .iter()
            .filter(|channel| own(&channel.peer) && now < channel.expires);
        let by_channel = by_channel.filter_map(|channel| {
            let (relayed, expires) = relayed(channel.peer)?;
            let expires = expires.min(channel.expires);
            Some(Wanted {
                relayed,
                peer: channel.peer,
                channel: Some(channel.number),
                expires,
            })
        });
        by_permission.chain(by_channel).collect()
    }
}

struct Wanted {
    relayed: SocketAddr,
    peer: SocketAddr,
    channel: Option<u16>,
    expires: Instant,
}
