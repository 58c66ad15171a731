//! Records on disk that the webhook has not accepted yet: a file of lines, and beside it how much
//! of it was delivered.
//!
//! During a handover two processes use one directory, so each operation locks it and reads the
//! files again. One of the processes at a time delivers.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A queue of lines in a directory.
#[derive(Debug)]
pub(super) struct Spool {
    directory: PathBuf,
    /// The maximum size of undelivered lines in bytes.
    max_bytes: u64,
    /// Locked during each operation.
    lock: File,
    /// Locked for life by the process that delivers.
    delivery_lock: File,
}

/// The files of a spool while it is locked.
struct Files {
    lines: File,
    /// The size of the file.
    len: u64,
    /// The size of the delivered lines at the start of the file.
    delivered: u64,
}

impl Spool {
    /// Opens the spool in a directory, which is created if necessary. Lines of earlier runs are
    /// kept.
    ///
    /// # Errors
    /// Errors of the file system.
    pub(super) fn open(directory: &Path, max_bytes: u64) -> io::Result<Spool> {
        fs::create_dir_all(directory)?;
        let open_lock =
            |name| open_private(&directory.join(name), OpenOptions::new().truncate(true));
        let spool = Spool {
            directory: directory.to_owned(),
            max_bytes,
            lock: open_lock("usage.lock")?,
            delivery_lock: open_lock("usage.delivery")?,
        };
        // A process that was killed may have left the beginning of a line.
        spool.locked(|files| files.lines.set_len(complete_lines(&files.lines)?))?;
        Ok(spool)
    }

    /// Returns true if this process delivers: the first to ask does until it ends.
    ///
    /// # Errors
    /// Errors of the file system.
    pub(super) fn claim_delivery(&self) -> io::Result<bool> {
        match self.delivery_lock.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Appends a line, which ends in a line break. Returns false if the spool is full.
    ///
    /// # Errors
    /// Errors of the file system.
    pub(super) fn push(&self, line: &str) -> io::Result<bool> {
        self.locked(|files| {
            if files.len - files.delivered + line.len() as u64 > self.max_bytes {
                return Ok(false);
            }
            let written = files.lines.write_all(line.as_bytes());
            if written.is_err() {
                // The beginning of a line would corrupt the next one.
                files.lines.set_len(files.len)?;
            }
            written.map(|()| true)
        })
    }

    /// Returns up to `count` of the oldest lines without line breaks, and their end for
    /// [`Spool::remove_until`].
    ///
    /// # Errors
    /// Errors of the file system.
    pub(super) fn peek(&self, count: usize) -> io::Result<(Vec<String>, u64)> {
        self.locked(|files| files.peek(count))
    }

    /// Removes the lines up to an end that [`Spool::peek`] returned.
    ///
    /// # Errors
    /// Errors of the file system.
    pub(super) fn remove_until(&self, end: u64) -> io::Result<()> {
        self.locked(|files| {
            files.delivered = end.min(files.len);
            if files.delivered == files.len {
                files.lines.set_len(0)?;
                write_private(&self.delivered_path(), "0")
            } else if files.delivered > self.max_bytes {
                self.compact(files)
            } else {
                write_private(&self.delivered_path(), &files.delivered.to_string())
            }
        })
    }

    /// Returns true if every line was removed.
    ///
    /// # Errors
    /// Errors of the file system.
    pub(super) fn is_empty(&self) -> io::Result<bool> {
        self.locked(|files| Ok(files.delivered == files.len))
    }

    /// Rewrites the file without delivered lines, so that it does not grow while the webhook keeps
    /// up but never empties it. If the power fails in between, a line is delivered twice, and none
    /// is lost.
    fn compact(&self, files: &mut Files) -> io::Result<()> {
        let (rest, _) = files.peek(usize::MAX)?;
        let text: String = rest.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        let new = self.directory.join("usage.new");
        write_private(&new, &text)?;
        write_private(&self.delivered_path(), "0")?;
        fs::rename(&new, self.lines_path())
    }

    fn locked<T>(&self, operation: impl FnOnce(&mut Files) -> io::Result<T>) -> io::Result<T> {
        self.lock.lock()?;
        let result = self.files().and_then(|mut files| operation(&mut files));
        self.lock.unlock()?;
        result
    }

    fn files(&self) -> io::Result<Files> {
        let options = &mut OpenOptions::new();
        let lines = open_private(&self.lines_path(), options.append(true).read(true))?;
        let len = lines.metadata()?.len();
        let delivered = fs::read_to_string(self.delivered_path()).ok();
        let delivered = delivered
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0);
        Ok(Files {
            lines,
            len,
            delivered: if delivered > len { 0 } else { delivered },
        })
    }

    fn lines_path(&self) -> PathBuf {
        self.directory.join("usage.jsonl")
    }

    fn delivered_path(&self) -> PathBuf {
        self.directory.join("usage.taken")
    }
}

impl Files {
    fn peek(&mut self, count: usize) -> io::Result<(Vec<String>, u64)> {
        self.lines.seek(SeekFrom::Start(self.delivered))?;
        let mut reader = BufReader::new(&self.lines);
        let (mut lines, mut end) = (Vec::new(), self.delivered);
        while lines.len() < count && end < self.len {
            let mut line = String::new();
            let read = reader.read_line(&mut line)? as u64;
            if read == 0 {
                break;
            }
            end += read;
            lines.push(line.trim_end().to_owned());
        }
        Ok((lines, end))
    }
}

/// Opens a file that only its owner may read, because records say which addresses communicated.
fn open_private(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = options.create(true).write(true).mode(0o600).open(path)?;
    // An earlier version may have left other permissions. The file of another user cannot be
    // changed.
    let _ = file.set_permissions(Permissions::from_mode(0o600));
    Ok(file)
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    open_private(path, OpenOptions::new().truncate(true))?.write_all(text.as_bytes())
}

/// The size of the complete lines of a file.
fn complete_lines(file: &File) -> io::Result<u64> {
    let (mut len, mut complete) = (0, 0);
    let mut reader = BufReader::new(file);
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(complete);
        }
        let read = bytes.len();
        if let Some(last) = bytes.iter().rposition(|byte| *byte == b'\n') {
            complete = len + last as u64 + 1;
        }
        len += read as u64;
        reader.consume(read);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that is removed with the test.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Directory {
            let name = format!("hairpin-spool-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let _ = fs::remove_dir_all(&path);
            Directory(path)
        }

        fn open(&self, max_bytes: u64) -> Spool {
            Spool::open(&self.0, max_bytes).unwrap()
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn lines_stay_in_order_within_the_bound_and_survive_a_restart() {
        let directory = Directory::new("order");
        let spool = directory.open(20);
        for line in ["one\n", "two\n", "three\n"] {
            assert!(spool.push(line).unwrap());
        }
        assert!(!spool.push("seventh\n").unwrap(), "22 bytes");
        let (lines, end) = spool.peek(2).unwrap();
        assert_eq!(lines, ["one", "two"]);
        spool.remove_until(end).unwrap();
        drop(spool);
        let spool = directory.open(20);
        assert!(spool.push("four\n").unwrap());
        let (lines, end) = spool.peek(9).unwrap();
        assert_eq!(lines, ["three", "four"]);
        assert!(!spool.is_empty().unwrap());
        spool.remove_until(end).unwrap();
        assert!(spool.is_empty().unwrap());
        let file = directory.0.join("usage.jsonl");
        assert_eq!(
            fs::metadata(file).unwrap().len(),
            0,
            "an empty spool takes no space"
        );
        assert!(spool.push("five\n").unwrap());
        assert_eq!(spool.peek(9).unwrap().0, ["five"]);
    }

    #[test]
    fn only_the_owner_may_read_the_files() {
        let directory = Directory::new("mode");
        let spool = directory.open(10);
        // More is delivered than may wait, so the file is rewritten.
        for number in 0..8 {
            assert!(spool.push(&format!("{number}\n")).unwrap());
            let (_, end) = spool.peek(usize::from(number > 0)).unwrap();
            spool.remove_until(end).unwrap();
        }
        let files = fs::read_dir(&directory.0).unwrap();
        let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        assert_eq!(files.len(), 4, "{files:?}");
        for file in files {
            let mode = fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file:?}");
        }
    }

    #[test]
    fn two_processes_share_a_spool_and_one_delivers() {
        let directory = Directory::new("shared");
        let (old, new) = (directory.open(20), directory.open(20));
        assert!(old.claim_delivery().unwrap() && !new.claim_delivery().unwrap());
        assert!(old.push("old\n").unwrap() && new.push("new\n").unwrap());
        let (lines, end) = old.peek(1).unwrap();
        assert_eq!(lines, ["old"]);
        old.remove_until(end).unwrap();
        assert!(new.push("a second line\n").unwrap());
        assert!(!old.push("full\n").unwrap(), "the bound is common");
        drop(old);
        assert!(new.claim_delivery().unwrap());
        assert_eq!(new.peek(9).unwrap().0, ["new", "a second line"]);
    }

    #[test]
    fn an_incomplete_line_of_a_killed_process_is_removed() {
        let directory = Directory::new("torn");
        fs::create_dir_all(&directory.0).unwrap();
        fs::write(directory.0.join("usage.jsonl"), "whole\nha").unwrap();
        let spool = directory.open(100);
        assert!(spool.push("next\n").unwrap());
        assert_eq!(spool.peek(9).unwrap().0, ["whole", "next"]);
    }

    #[test]
    fn a_spool_that_never_empties_does_not_grow() {
        let directory = Directory::new("busy");
        let spool = directory.open(100);
        spool.push("0\n").unwrap();
        for number in 1..1000 {
            assert!(spool.push(&format!("{number}\n")).unwrap());
            let (lines, end) = spool.peek(1).unwrap();
            assert_eq!(lines, [(number - 1).to_string()]);
            spool.remove_until(end).unwrap();
        }
        assert!(fs::metadata(directory.0.join("usage.jsonl")).unwrap().len() < 200);
    }
}
