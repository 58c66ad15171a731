//! How the values of keys with defaults are parsed and written, one format for each kind of value.

use crate::config::value;
use crate::config::value::{AdminAddress, OFF, ValueError};
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// A parser and its inverse.
pub(crate) struct Format<T> {
    pub(super) parse: fn(&str) -> Result<T, ValueError>,
    pub(super) write: fn(&T) -> String,
    pub(super) syntax: Syntax,
}

/// How the file writes a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    Quoted,
    Number,
    Boolean,
}

impl<T> Format<T> {
    /// A value as the file writes it.
    pub(super) fn write_in_file(&self, value: &T) -> String {
        let text = (self.write)(value);
        match self.syntax {
            Syntax::Quoted => format!("\"{text}\""),
            Syntax::Number | Syntax::Boolean => text,
        }
    }

    /// A quoted value that is written as it displays.
    pub(super) const fn displayed(parse: fn(&str) -> Result<T, ValueError>) -> Format<T>
    where
        T: Display,
    {
        Format {
            parse,
            write: |value| value.to_string(),
            syntax: Syntax::Quoted,
        }
    }

    /// A number.
    pub(super) const fn number(parse: fn(&str) -> Result<T, ValueError>) -> Format<T>
    where
        T: Display,
    {
        Format {
            parse,
            write: |value| value.to_string(),
            syntax: Syntax::Number,
        }
    }
}

/// A duration that `parse` accepts.
pub(super) const fn duration(parse: fn(&str) -> Result<Duration, ValueError>) -> Format<Duration> {
    Format {
        parse,
        write: |value| humantime::format_duration(*value).to_string(),
        syntax: Syntax::Quoted,
    }
}

/// A number of which 0 stands for no limit.
pub(super) const COUNT_LIMIT: Format<u32> = Format {
    parse: |text| match value::number(text)? {
        0 => Ok(u32::MAX),
        count => Ok(count),
    },
    write: |limit| match *limit {
        u32::MAX => "0".into(),
        count => count.to_string(),
    },
    syntax: Syntax::Number,
};
/// An amount of bytes of which 0 stands for no limit.
pub(super) const BYTE_LIMIT: Format<Option<u64>> = Format {
    parse: |text| match value::byte_count(text)? {
        0 => Ok(None),
        count => Ok(Some(count)),
    },
    write: |limit| value::format_byte_count(&limit.unwrap_or(0)),
    syntax: Syntax::Quoted,
};
pub(super) const BYTE_COUNT: Format<u64> = Format {
    parse: value::byte_count,
    write: value::format_byte_count,
    syntax: Syntax::Quoted,
};
pub(super) const BOOLEAN: Format<bool> = Format {
    parse: value::boolean,
    write: |value| value.to_string(),
    syntax: Syntax::Boolean,
};
pub(super) const PATH: Format<PathBuf> = Format {
    parse: value::path,
    write: |path| path.display().to_string(),
    syntax: Syntax::Quoted,
};
pub(super) const PORT_RANGE: Format<RangeInclusive<u16>> = Format {
    parse: value::port_range,
    write: |range| format!("{}-{}", range.start(), range.end()),
    syntax: Syntax::Quoted,
};
pub(super) const ADDRESS_OR_OFF: Format<Option<SocketAddr>> = Format {
    parse: value::transport_address_or_off,
    write: write_or_off,
    syntax: Syntax::Quoted,
};
pub(super) const ADMIN_ADDRESS: Format<Option<AdminAddress>> = Format {
    parse: value::admin_address,
    write: write_or_off,
    syntax: Syntax::Quoted,
};

/// The word of a choice.
pub(super) fn choice_word<T: PartialEq>(value: &T, choices: &[(&'static str, T)]) -> String {
    let found = choices.iter().find(|(_, choice)| choice == value);
    found.map_or_else(String::new, |(word, _)| (*word).into())
}

fn write_or_off<T: Display>(address: &Option<T>) -> String {
    match address {
        Some(address) => address.to_string(),
        None => OFF.into(),
    }
}
