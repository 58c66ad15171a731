//! The DTLS ClientHello, parsed in place, and rebuilt as it was before it had a cookie. RFC 6347
//! §4.2, RFC 9147 §5.

use std::ops::Range;

/// A ClientHello that fills one datagram.
#[derive(Clone, Debug)]
pub(crate) struct ClientHello<'a> {
    datagram: &'a [u8],
    /// Number of the message in the handshake: 0 for the first hello, 1 for the hello with a
    /// cookie.
    pub(crate) message_sequence: u16,
    pub(crate) random: [u8; 32],
    /// The version field, which is DTLS 1.2 also for DTLS 1.3.
    pub(crate) version: u16,
    /// RFC 7627.
    pub(crate) extended_master_secret: bool,
    pub(crate) supports_13: bool,
    pub(crate) server_name: Option<&'a str>,
    /// Groups of the key shares.
    pub(crate) key_shares: Vec<u16>,
    /// Cipher suites in the client's order of preference.
    pub(crate) cipher_suites: Vec<u16>,
    /// The cookie field of DTLS 1.2, without its length octet.
    cookie_field: Range<usize>,
    cookie_extension: Option<CookieExtension>,
    /// The padding extension (RFC 7685), which may differ between the two hellos.
    padding_extension: Option<Range<usize>>,
    /// Index of the length of all extensions.
    extensions_length: usize,
}

/// The cookie extension of DTLS 1.3.
#[derive(Clone, Debug)]
struct CookieExtension {
    /// The extension with its type and length.
    whole: Range<usize>,
    cookie: Range<usize>,
}

impl<'a> ClientHello<'a> {
    /// Parses a datagram; `None` unless it is one record with one whole ClientHello. RFC 9147 §5.1:
    /// a server without state cannot reassemble a fragmented hello, and may discard it.
    pub(crate) fn parse(datagram: &'a [u8]) -> Option<ClientHello<'a>> {
        let mut reader = Reader {
            octets: datagram,
            next: 0,
        };
        let [kind, version, _, epoch_high, epoch_low] = *reader.take(5)? else {
            return None;
        };
        let _record_number = reader.take(6)?;
        let record_length = reader.number_16()?;
        let [message_type, ..] = *reader.take(1)? else {
            return None;
        };
        let length = reader.number_24()?;
        let message_sequence = u16::try_from(reader.number_16()?).ok()?;
        let (fragment_offset, fragment_length) = (reader.number_24()?, reader.number_24()?);
        let is_plain_handshake =
            kind == HANDSHAKE && version == 0xfe && epoch_high == 0 && epoch_low == 0;
        if !is_plain_handshake
            || message_type != CLIENT_HELLO
            || fragment_offset != 0
            || fragment_length != length
            || record_length != length + MESSAGE_HEADER_SIZE
        {
            return None;
        }
        let fills_datagram = reader.next + length == datagram.len();
        let version = u16::try_from(reader.number_16()?).ok()?;
        let random: [u8; 32] = reader.take(32)?.try_into().ok()?;
        let session_id = reader.number_8()?;
        reader.take(session_id)?;
        let cookie = reader.number_8()?;
        let cookie_field = reader.next..reader.next + cookie;
        reader.take(cookie)?;
        let cipher_suites = reader.number_16()?;
        let cipher_suites = numbers_16(reader.take(cipher_suites)?);
        let compressions = reader.number_8()?;
        reader.take(compressions)?;
        let mut hello = ClientHello {
            datagram,
            message_sequence,
            random,
            version,
            extended_master_secret: false,
            supports_13: false,
            server_name: None,
            key_shares: Vec::new(),
            cipher_suites,
            cookie_field,
            cookie_extension: None,
            padding_extension: None,
            extensions_length: reader.next,
        };
        if reader.next < datagram.len() {
            let length = reader.number_16()?;
            if reader.next + length != datagram.len() {
                return None;
            }
            while reader.next < datagram.len() {
                hello.parse_extension(&mut reader)?;
            }
        }
        fills_datagram.then_some(hello)
    }

    fn parse_extension(&mut self, reader: &mut Reader<'a>) -> Option<()> {
        let start = reader.next;
        let kind = reader.number_16()?;
        let length = reader.number_16()?;
        let body = reader.next;
        let octets = reader.take(length)?;
        let mut inner = Reader { octets, next: 0 };
        match kind {
            SERVER_NAME => {
                let _list_length = inner.number_16()?;
                // 0 is the only type of name, `host_name`.
                if inner.number_8()? == 0 {
                    let length = inner.number_16()?;
                    self.server_name = std::str::from_utf8(inner.take(length)?).ok();
                }
            }
            SUPPORTED_VERSIONS => {
                let length = inner.number_8()?;
                self.supports_13 = numbers_16(inner.take(length)?).contains(&DTLS_13);
            }
            KEY_SHARE => {
                let _list_length = inner.number_16()?;
                while inner.next < octets.len() {
                    self.key_shares
                        .push(u16::try_from(inner.number_16()?).ok()?);
                    let length = inner.number_16()?;
                    inner.take(length)?;
                }
            }
            COOKIE => {
                let length = inner.number_16()?;
                inner.take(length)?;
                self.cookie_extension = Some(CookieExtension {
                    whole: start..reader.next,
                    cookie: body + 2..body + 2 + length,
                });
            }
            EXTENDED_MASTER_SECRET => self.extended_master_secret = true,
            PADDING => self.padding_extension = Some(start..reader.next),
            _ => {}
        }
        Some(())
    }

    /// The cookie of DTLS 1.2; empty if there is none.
    pub(crate) fn cookie_12(&self) -> &'a [u8] {
        self.datagram
            .get(self.cookie_field.clone())
            .unwrap_or_default()
    }

    /// The cookie of DTLS 1.3; empty if there is none.
    pub(crate) fn cookie_13(&self) -> &'a [u8] {
        let extension = self.cookie_extension.as_ref();
        extension
            .and_then(|extension| self.datagram.get(extension.cookie.clone()))
            .unwrap_or_default()
    }

    /// Octets of padding; `None` without a padding extension.
    pub(crate) fn padding(&self) -> Option<usize> {
        self.padding_extension
            .as_ref()
            .map(|extension| extension.len() - EXTENSION_HEADER_SIZE)
    }

    /// The datagram as a DTLS 1.2 client sent it before it had a cookie: message 0 in record 0,
    /// without a cookie.
    pub(crate) fn first_hello_12(&self) -> Vec<u8> {
        let mut first = self.datagram.to_vec();
        first.drain(self.cookie_field.clone());
        write_number(&mut first, self.cookie_field.start - 1, 1, 0);
        as_first_message(first)
    }

    /// The datagram as a DTLS 1.3 client sent it before it had a cookie, with `padding` octets of
    /// padding. RFC 8446 §4.1.2: unless the server asked for another key share, the two hellos may
    /// differ in cookie and padding only.
    pub(crate) fn first_hello_13(&self, padding: Option<usize>) -> Vec<u8> {
        let padding = padding.map_or(Vec::new(), |length| {
            let mut extension = vec![0; EXTENSION_HEADER_SIZE + length];
            write_number(&mut extension, 0, 2, PADDING);
            write_number(&mut extension, 2, 2, length);
            extension
        });
        let end = self.datagram.len();
        let old_padding = self.padding_extension.clone().unwrap_or(end..end);
        let mut edits = vec![(old_padding, padding)];
        if let Some(extension) = &self.cookie_extension {
            edits.push((extension.whole.clone(), Vec::new()));
        }
        // From the end to the start, so that an edit does not shift the range of the next.
        edits.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
        let mut first = self.datagram.to_vec();
        for (range, replacement) in edits {
            first.splice(range, replacement);
        }
        let extensions = first.len().saturating_sub(self.extensions_length + 2);
        write_number(&mut first, self.extensions_length, 2, extensions);
        as_first_message(first)
    }

    /// The datagram, with a record number other than 0.
    pub(crate) fn with_record_number_above_0(&self) -> Vec<u8> {
        let mut second = self.datagram.to_vec();
        let record_number = second.get(RECORD_NUMBER..RECORD_NUMBER + 6);
        if record_number.is_some_and(|number| number.iter().all(|octet| *octet == 0)) {
            write_number(&mut second, RECORD_NUMBER, 6, 1);
        }
        second
    }
}

/// Writes a server's first record, with its first handshake message.
pub(crate) fn first_record(message_type: u8, body: &[u8]) -> Vec<u8> {
    let mut record = vec![0; HEADERS_SIZE];
    record.extend_from_slice(body);
    write_number(&mut record, 0, 1, usize::from(HANDSHAKE));
    write_number(&mut record, 1, 2, RECORD_VERSION);
    write_number(&mut record, 13, 1, usize::from(message_type));
    as_first_message(record)
}

/// Writes a record with a fatal alert.
pub(crate) fn fatal_alert(description: u8) -> Vec<u8> {
    let mut record = vec![0; 15];
    write_number(&mut record, 0, 1, usize::from(ALERT));
    write_number(&mut record, 1, 2, RECORD_VERSION);
    write_number(&mut record, RECORD_LENGTH, 2, 2);
    write_number(&mut record, 13, 1, FATAL);
    write_number(&mut record, 14, 1, usize::from(description));
    record
}

/// Sets numbers and lengths of a datagram that holds message 0 in record 0.
fn as_first_message(mut datagram: Vec<u8>) -> Vec<u8> {
    let body = datagram.len().saturating_sub(HEADERS_SIZE);
    write_number(&mut datagram, RECORD_NUMBER, 6, 0);
    write_number(&mut datagram, RECORD_LENGTH, 2, body + MESSAGE_HEADER_SIZE);
    write_number(&mut datagram, MESSAGE_LENGTH, 3, body);
    write_number(&mut datagram, MESSAGE_SEQUENCE, 2, 0);
    write_number(&mut datagram, FRAGMENT_LENGTH, 3, body);
    datagram
}

/// Writes the low `size` octets of `number` in network order.
fn write_number(into: &mut [u8], start: usize, size: usize, number: usize) {
    let number = (number as u64).to_be_bytes();
    if let (Some(to), Some(from)) = (into.get_mut(start..start + size), number.get(8 - size..)) {
        to.copy_from_slice(from);
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
    next: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.next.checked_add(length)?;
        let taken = self.octets.get(self.next..end)?;
        self.next = end;
        Some(taken)
    }

    fn number(&mut self, size: usize) -> Option<usize> {
        let octets = self.take(size)?.iter();
        Some(octets.fold(0, |number, octet| number << 8 | usize::from(*octet)))
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

/// Octets of the headers of a record (13) and a handshake message (12).
pub(crate) const HEADERS_SIZE: usize = 13 + MESSAGE_HEADER_SIZE;
const MESSAGE_HEADER_SIZE: usize = 12;
/// Indices of header fields.
const RECORD_NUMBER: usize = 5;
const RECORD_LENGTH: usize = 11;
const MESSAGE_LENGTH: usize = 14;
const MESSAGE_SEQUENCE: usize = 17;
const FRAGMENT_LENGTH: usize = 22;
/// Record types.
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
/// The version field of records: DTLS 1.2, also in DTLS 1.3.
const RECORD_VERSION: usize = 0xfefd;
const DTLS_13: u16 = 0xfefc;
const CLIENT_HELLO: u8 = 1;
/// Alert level.
const FATAL: usize = 2;
/// Octets of an extension's type and length.
const EXTENSION_HEADER_SIZE: usize = 4;
/// Extension types.
const SERVER_NAME: usize = 0;
const PADDING: usize = 21;
const EXTENDED_MASTER_SECRET: usize = 23;
const SUPPORTED_VERSIONS: usize = 43;
const COOKIE: usize = 44;
const KEY_SHARE: usize = 51;
