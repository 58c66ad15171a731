"""The TURN client of aioice (aiortc's) allocates, binds channels, and talks to a peer.

Arguments: server's address and port, user, password, transport: udp or tcp.
Prints one line for each thing that worked; ends with `done`.
"""
import asyncio
import sys


import aioice
from aioice import turn

server = (sys.argv[1], int(sys.argv[2]))
user, password, transport = sys.argv[3:6]


class End(asyncio.DatagramProtocol):
    def __init__(self):
        self.got = asyncio.Queue()

    def datagram_received(self, octets, address):
        self.got.put_nowait((octets, address))

    async def next(self):
        return await asyncio.wait_for(self.got.get(), 10)

    async def soon(self):
        try:
            return await asyncio.wait_for(self.got.get(), 0.2)
        except asyncio.TimeoutError:
            return None


async def relayed(name, secret):
    return await turn.create_turn_endpoint(End, server, name, secret, lifetime=600, transport=transport)


async def main():
    relay, end = await relayed(user, password)
    address = relay.get_extra_info("sockname")
    print("it has an allocation")
    loop = asyncio.get_event_loop()
    peer, answers = await loop.create_datagram_endpoint(End, local_addr=("127.0.0.1", 0))
    where = peer.get_extra_info("sockname")
    for round in range(1, 101):
        octets = bytes([round]) * round
        relay.sendto(octets, where)
        assert await answers.next() == (octets, address)
        peer.sendto(octets, address)
        assert await end.next() == (octets, where)
    print("100 datagrams went there and came back")
    other, far = await relayed(user, password)
    there = other.get_extra_info("sockname")
    # Each binds its channel with what it sends first, which may come before the other has: it goes again then.
    for round in range(50):
        other.sendto(b"there", address)
        relay.sendto(b"back", there)
        if await far.soon() == (b"back", address) and await end.soon() == (b"there", there):
            break
    else:
        sys.exit("nothing came across")
    print("two of its allocations reach each other")
    try:
        await relayed(user, "not the password")
        sys.exit("a wrong password was taken")
    except aioice.stun.TransactionFailed as refused:
        assert refused.response.attributes["ERROR-CODE"][0] == 401, refused
        print("a wrong password is refused")
    for one in (relay, other):
        one.close()
    await asyncio.sleep(0)
    peer.close()


asyncio.get_event_loop().run_until_complete(main())
print("done")
