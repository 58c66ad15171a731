"""Two agents of libnice, which may use relayed candidates only, find each other through a TURN server and talk.

Arguments: server's address and port, user, password, and how each agent reaches the server: udp, tcp.
Prints one line for each thing that worked; ends with `done`.
"""
import ctypes
import sys

import gi

gi.require_version("Nice", "0.1")
from gi.repository import GLib, Nice

host, port, user, password = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
types = {"udp": Nice.RelayType.UDP, "tcp": Nice.RelayType.TCP}
reach = [types[name] for name in sys.argv[5:7]]
loop = GLib.MainLoop()
ROUNDS = 100

# Its callback of received data is no GObject signal, so the bindings do not have it.
library = ctypes.CDLL("libnice.so.10")
Received = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p)
library.nice_agent_attach_recv.argtypes = [ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, Received, ctypes.c_void_p]


class End:
    def __init__(self, name, relay, controlling):
        self.name, self.ready, self.asked = name, False, 0
        self.agent = Nice.Agent.new(GLib.MainContext.default(), Nice.Compatibility.RFC5245)
        for key, value in [("controlling-mode", controlling), ("force-relay", True), ("upnp", False), ("ice-tcp", False)]:
            self.agent.set_property(key, value)
        local = Nice.Address.new()
        local.set_from_string("127.0.0.1")
        self.agent.add_local_address(local)
        self.stream = self.agent.add_stream(1)
        assert self.agent.set_relay_info(self.stream, 1, host, port, user, password, relay)
        self.agent.connect("component-state-changed", self.changed)
        self.callback = Received(lambda agent, stream, component, length, octets, _: self.received(ctypes.string_at(octets, length)))
        library.nice_agent_attach_recv(hash(self.agent), self.stream, 1, None, self.callback, None)

    def changed(self, agent, stream, component, state):
        if state == Nice.ComponentState.FAILED:
            sys.exit(f"{self.name} failed")
        if state == Nice.ComponentState.READY:
            self.ready = True
            if all(end.ready for end in ends):
                GLib.idle_add(talk)

    def received(self, octets):
        number = int(octets.split()[1])
        if octets.startswith(b"ask"):
            self.say(f"answer {number}")
        elif number != self.asked:
            return
        elif number + 1 < ROUNDS:
            self.ask(number + 1)
        else:
            print(f"{ROUNDS} datagrams went there and came back")
            loop.quit()

    def ask(self, number):
        self.asked = number
        self.say(f"ask {number}")
        return True

    def say(self, text):
        assert self.agent.send(self.stream, 1, len(text), text) == len(text)

    def kinds(self):
        return {candidate.type for candidate in self.agent.get_local_candidates(self.stream, 1)}


started = False


def talk():
    global started
    if not started:
        started = True
        print("both ends are ready")
        one.ask(0)
        # Datagrams may be lost while the agents change to a better pair.
        GLib.timeout_add(500, lambda: one.ask(one.asked))
    return False


def exchange(*_):
    """After both have gathered: exchange their names and candidates."""
    gathered.append(1)
    if len(gathered) < 2:
        return
    for end in ends:
        assert end.kinds() == {Nice.CandidateType.RELAYED}, f"{end.name} gathered {end.kinds()}"
    print("both ends have relayed candidates and no others")
    for end, other in [(one, two), (two, one)]:
        _, name, secret = other.agent.get_local_credentials(other.stream)
        assert end.agent.set_remote_credentials(end.stream, name, secret)
        end.agent.set_remote_candidates(end.stream, 1, other.agent.get_local_candidates(other.stream, 1))


ends, gathered = [], []
one, two = End("one", reach[0], True), End("two", reach[1], False)
ends.extend([one, two])
for end in ends:
    end.agent.connect("candidate-gathering-done", exchange)
    assert end.agent.gather_candidates(end.stream)
GLib.timeout_add_seconds(30, lambda: sys.exit("not done in 30 s"))
loop.run()
for end in ends:
    end.agent.remove_stream(end.stream)
print("done")
