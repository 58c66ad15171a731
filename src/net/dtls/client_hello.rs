//! The DTLS ClientHello, read in place before anything is remembered about who sent it. RFC 6347 §4.2, RFC 9147 §5.

use std::ops::Range;

/// A ClientHello that came whole in one datagram.
#[derive(Clone, Debug)]
pub struct ClientHello<'a> {
    datagram: &'a [u8],
    /// Its number in the handshake: 0 for the first, 1 for the one that brings a cookie.
    pub message_sequence: u16,
    /// The client's random.
    pub random: [u8; 32],
    /// The version that it names: that of DTLS 1.2, or an older one.
    pub version: u16,
    /// It offers the extended master secret (RFC 7627).
    pub extended_master_secret: bool,
    /// The client speaks DTLS 1.3.
    pub speaks_13: bool,
    /// The server name it asks for.
    pub server_name: Option<&'a str>,
    /// Groups that it sent key shares of.
    pub key_shares: Vec<u16>,
    /// Cipher suites, in its order.
    pub suites: Vec<u16>,
    /// DTLS 1.2's cookie: behind its length octet.
    legacy_cookie: Range<usize>,
    /// DTLS 1.3's cookie extension, type and length included; its place, and that of the cookie itself.
    cookie_extension: Option<(Range<usize>, Range<usize>)>,
    /// The padding extension, which may change from one hello to the next.
    padding: Option<Range<usize>>,
    /// Where the length of all extensions stands.
    extensions_length: usize,
}

impl<'a> ClientHello<'a> {
    /// Reads a datagram; `None` unless it is one record with one whole ClientHello. RFC 9147 §5.1 on those in fragments:
    /// a server without state cannot put them together, and need not.
    pub fn parse(datagram: &'a [u8]) -> Option<ClientHello<'a>> {
        let mut header = Reader {
            octets: datagram,
            at: 0,
        };
        let [kind, version, _, epoch_high, epoch_low] = *header.take(5)? else {
            return None;
        };
        let _sequence = header.take(6)?;
        let record = header.number_16()?;
        let [message, ..] = *header.take(1)? else {
            return None;
        };
        let length = header.number_24()?;
        let message_sequence = u16::try_from(header.number_16()?).ok()?;
        let (offset, fragment) = (header.number_24()?, header.number_24()?);
        let plain = kind == HANDSHAKE && version == 0xfe && epoch_high == 0 && epoch_low == 0;
        if !plain
            || message != CLIENT_HELLO
            || offset != 0
            || fragment != length
            || record != length + 12
        {
            return None;
        }
        let whole = header.at + length == datagram.len();
        let client_version = u16::try_from(header.number_16()?).ok()?;
        let random: [u8; 32] = header.take(32)?.try_into().ok()?;
        let session = header.number_8()?;
        header.take(session)?;
        let cookie = header.number_8()?;
        let legacy_cookie = header.at..header.at + cookie;
        header.take(cookie)?;
        let suites = header.number_16()?;
        let suites = numbers_16(header.take(suites)?);
        let compressions = header.number_8()?;
        header.take(compressions)?;
        let mut hello = ClientHello {
            datagram,
            message_sequence,
            random,
            version: client_version,
            extended_master_secret: false,
            speaks_13: false,
            server_name: None,
            key_shares: Vec::new(),
            suites,
            legacy_cookie,
            cookie_extension: None,
            padding: None,
            extensions_length: header.at,
        };
        if header.at < datagram.len() {
            let length = header.number_16()?;
            if header.at + length != datagram.len() {
                return None;
            }
            while header.at < datagram.len() {
                hello.extension(&mut header)?;
            }
        }
        whole.then_some(hello)
    }

    fn extension(&mut self, reader: &mut Reader<'a>) -> Option<()> {
        let start = reader.at;
        let kind = reader.number_16()?;
        let length = reader.number_16()?;
        let body = reader.at;
        let octets = reader.take(length)?;
        let mut inner = Reader { octets, at: 0 };
        match kind {
            SERVER_NAME => {
                let _list = inner.number_16()?;
                if inner.number_8()? == 0 {
                    let length = inner.number_16()?;
                    self.server_name = std::str::from_utf8(inner.take(length)?).ok();
                }
            }
            SUPPORTED_VERSIONS => {
                let length = inner.number_8()?;
                self.speaks_13 = numbers_16(inner.take(length)?).contains(&DTLS_13);
            }
            KEY_SHARE => {
                let _list = inner.number_16()?;
                while inner.at < octets.len() {
                    self.key_shares
                        .push(u16::try_from(inner.number_16()?).ok()?);
                    let length = inner.number_16()?;
                    inner.take(length)?;
                }
            }
            COOKIE => {
                let length = inner.number_16()?;
                inner.take(length)?;
                self.cookie_extension = Some((start..reader.at, body + 2..body + 2 + length));
            }
            EXTENDED_MASTER_SECRET => self.extended_master_secret = true,
            PADDING => self.padding = Some(start..reader.at),
            _ => {}
        }
        Some(())
    }

    /// The cookie of DTLS 1.2; empty when it brings none.
    pub fn cookie_12(&self) -> &'a [u8] {
        self.datagram
            .get(self.legacy_cookie.clone())
            .unwrap_or_default()
    }

    /// The cookie of DTLS 1.3; empty when it brings none.
    pub fn cookie_13(&self) -> &'a [u8] {
        let cookie = self
            .cookie_extension
            .as_ref()
            .map(|(_, cookie)| cookie.clone());
        cookie
            .and_then(|cookie| self.datagram.get(cookie))
            .unwrap_or_default()
    }

    /// Octets of the datagram.
    pub fn length(&self) -> usize {
        self.datagram.len()
    }

    /// Octets of its padding (RFC 7685); `None` when there is none.
    pub fn padding(&self) -> Option<usize> {
        self.padding
            .as_ref()
            .map(|extension| extension.len() - EXTENSION)
    }

    /// The datagram as a client of DTLS 1.2 sent it before it had a cookie: the first of its handshake, in record 0.
    pub fn first_12(&self) -> Vec<u8> {
        let mut first = self.datagram.to_vec();
        first.drain(self.legacy_cookie.clone());
        set(&mut first, self.legacy_cookie.start - 1, 1, 0);
        renumbered(first)
    }

    /// The same of DTLS 1.3, where the first had so much padding. RFC 8446 §4.1.2: between the two, cookie and padding are all
    /// that may differ, where no other key share was asked for.
    pub fn first_13(&self, padding: Option<usize>) -> Vec<u8> {
        let padding = padding.map_or(Vec::new(), |length| {
            let mut extension = vec![0; EXTENSION + length];
            set(&mut extension, 0, 2, PADDING);
            set(&mut extension, 2, 2, length);
            extension
        });
        let end = self.datagram.len();
        let mut changes = vec![(self.padding.clone().unwrap_or(end..end), padding)];
        changes.extend(
            self.cookie_extension
                .as_ref()
                .map(|(extension, _)| (extension.clone(), Vec::new())),
        );
        // From the end, so that places stay true; what is put at the very end, first of all.
        changes.sort_by_key(|(place, _)| std::cmp::Reverse(place.start));
        let mut first = self.datagram.to_vec();
        for (place, instead) in changes {
            first.splice(place, instead);
        }
        let extensions = first.len().saturating_sub(self.extensions_length + 2);
        set(&mut first, self.extensions_length, 2, extensions);
        renumbered(first)
    }

    /// The datagram as it came, in a record that comes later than record 0.
    pub fn after_record_0(&self) -> Vec<u8> {
        let mut second = self.datagram.to_vec();
        if second
            .get(5..11)
            .is_some_and(|sequence| sequence.iter().all(|octet| *octet == 0))
        {
            set(&mut second, 5, 6, 1);
        }
        second
    }
}

/// A record with one handshake message in it, both the first that a server sends.
pub fn first_record(message: u8, body: &[u8]) -> Vec<u8> {
    let mut record = vec![0; BODY];
    record.extend_from_slice(body);
    set(&mut record, 0, 1, usize::from(HANDSHAKE));
    set(&mut record, 1, 2, 0xfefd);
    set(&mut record, 11, 2, body.len() + 12);
    set(&mut record, 13, 1, usize::from(message));
    set(&mut record, 14, 3, body.len());
    set(&mut record, 22, 3, body.len());
    record
}

/// A hello of another length as the first message of the first record.
fn renumbered(mut hello: Vec<u8>) -> Vec<u8> {
    let body = hello.len().saturating_sub(BODY);
    set(&mut hello, 5, 6, 0);
    set(&mut hello, 11, 2, body + 12);
    set(&mut hello, 14, 3, body);
    set(&mut hello, 17, 2, 0);
    set(&mut hello, 22, 3, body);
    hello
}

/// A record that says why there will be no association.
pub fn fatal_alert(description: u8) -> Vec<u8> {
    let mut record = vec![0; 15];
    set(&mut record, 0, 1, 21);
    set(&mut record, 1, 2, 0xfefd);
    set(&mut record, 11, 2, 2);
    set(&mut record, 13, 1, 2);
    set(&mut record, 14, 1, usize::from(description));
    record
}

/// Writes the low `octets` octets of `number`.
fn set(into: &mut [u8], at: usize, octets: usize, number: usize) {
    let number = (number as u64).to_be_bytes();
    if let (Some(place), Some(low)) = (into.get_mut(at..at + octets), number.get(8 - octets..)) {
        place.copy_from_slice(low);
    }
}

fn numbers_16(octets: &[u8]) -> Vec<u16> {
    octets
        .chunks_exact(2)
        .filter_map(|pair| pair.first_chunk().map(|pair| u16::from_be_bytes(*pair)))
        .collect()
}

struct Reader<'a> {
    octets: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.octets.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    fn number(&mut self, octets: usize) -> Option<usize> {
        Some(
            self.take(octets)?
                .iter()
                .fold(0, |number, octet| number << 8 | usize::from(*octet)),
        )
    }

    fn number_8(&mut self) -> Option<usize> {
        self.number(1)
    }

    fn number_16(&mut self) -> Option<usize> {
        self.number(2)
    }

    fn number_24(&mut self) -> Option<usize> {
        self.number(3)
    }
}

/// Octets of a record's header and a handshake message's.
const BODY: usize = 25;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const DTLS_13: u16 = 0xfefc;
/// Octets of an extension's type and length.
const EXTENSION: usize = 4;
const SERVER_NAME: usize = 0;
const PADDING: usize = 21;
const EXTENDED_MASTER_SECRET: usize = 23;
const SUPPORTED_VERSIONS: usize = 43;
const COOKIE: usize = 44;
const KEY_SHARE: usize = 51;
